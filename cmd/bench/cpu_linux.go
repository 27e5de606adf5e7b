package main

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

const tickMicros = 10_000 // /proc counts in hundredths of a second

// usedCPU reads what this run's processes have used so far, in microseconds. Those that have ended count with their
// parents. What cannot be read counts as nothing.
func (r *rig) usedCPU(proxies []*child) (c cpu) {
	all := processes()
	self := os.Getpid()
	c.Generator = all[self].own
	c.Upstream = all[r.upstream.cmd.Process.Pid].own
	for _, p := range proxies {
		c.Proxy += all.tree(p.cmd.Process.Pid)
	}
	for pid, p := range all {
		if p.parent == self && p.name == "postgres" {
			c.Database += all.tree(pid)
		}
	}
	return c
}

// process is what is known of a running one; times in microseconds.
type process struct {
	name   string
	parent int
	own    float64
	ended  float64 // of children that have ended
}

type table map[int]process

// tree is what a process and its children have used.
func (t table) tree(pid int) float64 {
	used := t[pid].own + t[pid].ended
	for child, p := range t {
		if p.parent == pid {
			used += t.tree(child)
		}
	}
	return used
}

func processes() table {
	all := table{}
	dirs, _ := os.ReadDir("/proc")
	for _, d := range dirs {
		pid, err := strconv.Atoi(d.Name())
		if err != nil {
			continue
		}
		text, err := os.ReadFile("/proc/" + d.Name() + "/stat")
		if err != nil {
			continue // it has ended
		}
		s := string(text)
		open, end := strings.IndexByte(s, '('), strings.LastIndexByte(s, ')')
		if open < 0 || end < open {
			continue
		}
		f := strings.Fields(s[end+1:])
		if len(f) < 15 {
			continue
		}
		parent, _ := strconv.Atoi(f[1])
		all[pid] = process{s[open+1 : end], parent, ticks(f[11]) + ticks(f[12]), ticks(f[13]) + ticks(f[14])}
	}
	return all
}

func ticks(text string) float64 {
	n, _ := strconv.ParseFloat(text, 64)
	return n * tickMicros
}

// othersCPU returns a function that tells which share of the machine others than this run's processes have used since, and
// what a hypervisor has kept from it.
func othersCPU() func() float64 {
	start, busy, ours := time.Now(), machineBusy(), processes().tree(os.Getpid())
	return func() float64 {
		others := machineBusy() - busy - (processes().tree(os.Getpid()) - ours)
		return max(others, 0) / float64(time.Since(start).Microseconds()) / float64(runtime.NumCPU())
	}
}

// machineBusy is the time that all processors have been busy, or away, since the machine's start.
func machineBusy() (micros float64) {
	text, _ := os.ReadFile("/proc/stat")
	line, _, _ := strings.Cut(string(text), "\n")
	for i, f := range strings.Fields(line) {
		switch i { // user, nice, system, irq, softirq, steal; not idle and iowait
		case 1, 2, 3, 6, 7, 8:
			micros += ticks(f)
		}
	}
	return micros
}
