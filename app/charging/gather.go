package charging

// gather lets a batch that has begun grow, because a statement costs the same whatever it holds.
//
// In durable mode calls wait for it, so it waits for half of those that are in flight: they come while the other half is being
// handled, and neither processor nor database stands idle for them. Who did not come the last time, such as a stream or the
// calls of a slow upstream, is not waited for again, and a lone caller never waits. In async mode nobody waits, and a
// batch takes all the time that a process that is killed may lose.
func (s *shard) gather() {
	s.mu.Lock()
	n, open := len(s.queue), int(s.open.Load())
	goal, most := (open-s.late+1)/2, s.charger.cfg.DurableWait
	if s.charger.cfg.Mode == Async {
		goal, most = s.charger.cfg.BatchMax, s.charger.cfg.AsyncFlush
	}
	goal = min(goal, s.charger.cfg.BatchMax)
	wait := most - s.charger.now().Sub(s.first)
	if n == 0 || n >= goal || wait <= 0 || s.stopping != nil {
		s.late = min(s.late, max(open-n, 0))
		s.mu.Unlock()
		return
	}
	s.wanted = goal
	select {
	case <-s.enough: // of an earlier gathering
	default:
	}
	s.mu.Unlock()

	s.timer.Reset(wait)
	inTime := true
	select {
	case <-s.enough:
	case <-s.timer.C:
		inTime = false
	case <-s.stop:
	}
	s.timer.Stop()

	s.mu.Lock()
	defer s.mu.Unlock()
	s.wanted = 0
	late := max(int(s.open.Load())-len(s.queue), 0)
	if inTime {
		late = min(late, s.late)
	}
	s.late = late
}
