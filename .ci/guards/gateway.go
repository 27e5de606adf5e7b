package main

var ofGateway = []guard{
	{
		"only an upstream's success is charged", "adapters/gateway/answer.go",
		"return status >= 200 && status < 300", "return status >= 200",
		gateway, "TestFailingUpstreamsAreNotCharged",
	},
	{
		"every end of a call gives back what it holds", "adapters/gateway/call.go",
		"	c.watch.stop()\n\tc.release()\n", "	c.watch.stop()\n",
		gateway, "TestAPanicIs500AndReleases|TestASlowUpstreamIs504AndNotCharged|TestACallerWhoLeaves",
	},
	{
		"a broken stream is not charged", "adapters/gateway/stream.go",
		"	s.finished = true\n\ts.forget()\n\ts.call.cause = err\n", "	_ = s.finish(true)\n\ts.call.cause = err\n",
		gateway, "TestAStreamThatBreaksIsCutAndNotCharged",
	},
	{
		"the end of a stream waits for its charge", "adapters/gateway/stream.go",
		"if s.finish(true) != nil {\n\t\t\treturn 0, errEndsUncharged\n\t\t}", "_ = s.finish(true)",
		gateway, "TestWhatCannotBeRecordedIs503AndIsNotDelivered",
	},
	{
		"a caller who leaves in the middle has been served", "adapters/gateway/stream.go",
		"	if !s.finished {\n\t\t_ = s.finish(false)\n\t}\n\treturn s.ReadCloser.Close()", "	return s.ReadCloser.Close()",
		gateway, "TestACallerWhoDoesNotReadIsCut|TestACallerWhoLeaves",
	},
	{
		"a call lives no longer than its claim", "adapters/gateway/claims.go",
		"	c.lost.Store(true)\n\tc.cancel()", "	c.lost.Store(true)",
		gateway, "TestAClaimThatCannotBeExtended",
	},
	{
		"a call that is cut is not charged", "adapters/gateway/stream.go",
		"	s.finished = true\n\ts.forget()\n\ts.call.cause = err\n", "	if lost {\n\t\ts.call.payment.claim.lost.Store(false)\n\t}\n\t_ = s.finish(true)\n",
		gateway, "TestAStreamWithoutTheStore",
	},
	{
		"the claim of a live call is extended", "adapters/gateway/claims.go",
		"s.next = time.AfterFunc(s.interval(), s.extend)", "s.next = time.AfterFunc(time.Hour, s.extend)",
		gateway, "TestAStreamLongerThanItsLease",
	},
	{
		"the charge knows its claim", "adapters/gateway/payment.go",
		"e.IdempotencyKey, e.IdempotencyClaim = p.claim.Key, p.claim.Claim", "_ = p.claim",
		gateway, "TestACallThatLosesItsKeyBeforeItsCharge",
	},
	{
		"a repeat that was served is used up", "adapters/gateway/payment.go",
		"p.served = true\n", "p.served = false\n",
		gateway, "TestARepeatWhoseAnswerCannotBeStored",
	},
	{
		"no tunnel under an Idempotency-Key", "adapters/gateway/upgrade.go",
		"h[headerIdempotency]; has {", "h[headerIdempotency]; has && false {",
		gateway, "TestAnIdempotencyKeyWithUpgrade",
	},
	{
		"answers to keep are bounded in memory", "adapters/gateway/claims.go",
		"if s.memory.Add(int64(-bytes)) < 0 {", "if s.memory.Add(int64(-bytes)) < -1<<40 {",
		gateway, "TestAnswersAreKeptWithinTheMemory",
	},
	{
		"a call that is not charged frees its key", "adapters/gateway/call.go",
		"		c.giveUp(claim)\n", "		c.g.claims.end(claim)\n",
		gateway, "TestEveryCallThatIsNotChargedFreesItsKey",
	},
	{
		"a caller who breaks its own request pays for the answer that has begun", "adapters/gateway/stream.go",
		"return c.brokenOff() != nil", "return false",
		gateway, "TestEveryWayToLeaveAnAnswerIsChargedOnce",
	},
	{
		"an answer to a broken request is not charged", "adapters/gateway/answer.go",
		"	case c.brokenOff() != nil:\n\t\treturn c.brokenOff()\n", "",
		gateway, "TestAnAnswerToABrokenRequestIsNotCharged",
	},
	{
		"an answer to a request that breaks meanwhile is not charged", "adapters/gateway/answer.go",
		"		err = c.brokenOff()\n", "",
		gateway, "TestAnAnswerToABrokenRequestIsNotCharged",
	},
	{
		"a caller whom the upstream waits for pays for the answer that has begun", "adapters/gateway/body.go",
		"if b.closed || !b.call.watch.pause(toSend) {", "if b.closed {",
		gateway, "TestACallerWhomTheUpstreamWaitsForPaysForTheAnswerThatHasBegun",
	},
	{
		"an upstream that stalls with the whole request is not paid", "adapters/gateway/stream.go",
		"return c.body != nil && c.body.left()", "return true",
		gateway, "TestAnUpstreamThatStallsWithTheWholeRequestIsNotPaid",
	},
	{
		"what follows a broken body is not a request", "adapters/httpkit/body.go",
		"	closeAfterAnswer(w)\n\tDropBody", "	_ = closeAfterAnswer\n\tDropBody",
		gateway, "TestAMalformedBodyIs400AndEndsTheConnection",
	},
	{
		"no protocol but WebSocket is upgraded to", "adapters/gateway/upgrade.go",
		"		delete(h, \"Upgrade\")\n", "",
		gateway, "TestOtherProtocolsAreIgnored",
	},
	{
		"a switch that answers no handshake is not charged", "adapters/gateway/tunnel.go",
		"if !ok || !c.acceptsWebSocket(res.Header) {", "if !ok {",
		gateway, "TestASwitchThatAnswersNoHandshakeIs502AndNotCharged",
	},
	{
		"a WebSocket ends with its key", "adapters/gateway/changes.go",
		"	background.Go(func() { g.watchTunnels(following) })\n", "",
		gateway, "TestAWebSocketEndsSoonAfterItsCallIsNoLongerAllowed",
	},
	{
		"a stopped vault pays for nothing", "adapters/gateway/payment.go",
		"	if err := mayPay(k, price); err != nil {\n\t\treturn err\n\t}\n", "",
		gateway, "TestAStoppedVaultPaysForNothingAndItsCallerIsToldWhy",
	},
	{
		"a stop is heard of by all keys of the vault's owner", "adapters/gateway/changes.go",
		"				g.keys.ForgetOwner(u)\n", "				_ = u\n",
		gateway, "TestAStoppedVaultPaysForNothingAndItsCallerIsToldWhy",
	},
	{
		"a WebSocket ends with its vault's stop", "adapters/gateway/tunnel.go",
		"return mayPay(&k.Key, endpoint.Price)", "return mayPay(&apikey.Key{}, endpoint.Price)",
		gateway, "TestAWebSocketEndsSoonAfterItsCallIsNoLongerAllowed/its_vault_is_stopped",
	},
	{
		"a WebSocket ends when one side has gone", "adapters/gateway/tunnel.go",
		"time.AfterFunc(t.linger,", "time.AfterFunc(time.Hour,",
		gateway, "TestAWebSocketEndsWhenOneSideHasGoneAndTheOtherIsSilent",
	},
	{
		"bytes after an answer are not the next call's answer", "adapters/gateway/upstream/conn.go",
		"return n == 0 && errors.Is(err, errNothing) &&", "return n >= 0 && (err == nil || errors.Is(err, errNothing)) &&",
		wire, "TestAnAnswerToNobodyIsNotTheNextCallsAnswer/after",
	},
	{
		"bytes with an answer are not the next call's answer", "adapters/gateway/upstream/body.go",
		" && b.conn.in.Buffered() == 0", "",
		wire, "TestAnAnswerToNobodyIsNotTheNextCallsAnswer/with",
	},
	{
		"an ambiguous path is refused", "domain/listing/path.go",
		"strings.ContainsAny(plain, `/\\;`)", "false",
		gateway, "TestThePathThatIsPricedIsThePathThatIsForwarded",
	},
	{
		"a key that was ended here is refused here at once", "adapters/gateway/changes.go",
		"func (g *Gateway) ForgetKey(key id.ID) { g.keys.ForgetID(key) }", "func (g *Gateway) ForgetKey(id.ID) {}",
		gateway, "TestAKeyThatWasForgottenDoesNotComeBack",
	},
	{
		"a look-up that began before a key ended is not kept", "adapters/gateway/keys/cache.go",
		"	case same:\n\t\tc.present.Store(prefix, found)", "	default:\n\t\tc.present.Store(prefix, found)",
		gateway, "TestAKeyThatWasForgottenDoesNotComeBack",
	},
	{
		"a look-up that began before a key ended is not shared", "adapters/gateway/keys/cache.go",
		"c.flight.Do(strconv.FormatInt(version, 36)+prefix,", "c.flight.Do(prefix,",
		gateway, "TestAKeyThatWasForgottenDoesNotComeBack",
	},
	{
		"a key is not believed for ever without news of changes", "adapters/gateway/authenticate.go",
		"case !k.Fresh(c.since):", "case false:",
		gateway, "TestWithoutTheChangeFeedARevokedKeyIsRefusedInTime",
	},
	{
		"a price is not believed for ever without news of changes", "adapters/gateway/handler.go",
		"c.route == nil || c.route.ID == c.key.APIID && !c.route.Fresh(c.since)", "c.route == nil",
		gateway, "TestWithoutTheChangeFeedPricesAndSalesEndInTime",
	},
	{
		"what an upstream may have executed is not sent again", "adapters/gateway/upstream/transport.go",
		"(c.untouched || m.safe && !c.answered)", "!c.answered",
		wire, "TestARequestIsMadeOnceUnlessItMayBeMadeTwice",
	},
	{
		"a request of which something was sent has been sent", "adapters/gateway/upstream/conn.go",
		"c.untouched = err != nil && n == 0", "c.untouched = err != nil && n >= 0",
		wire, "TestARequestThatWasNotSentIsMadeOnAnotherConnection",
	},
	{
		"an Idempotency-Key does not make a call safe to execute twice", "adapters/gateway/upstream/message.go",
		"	switch r.Method {", "	if r.Header[\"Idempotency-Key\"] != nil {\n\t\treturn true\n\t}\n\tswitch r.Method {",
		wire, "TestARequestIsMadeOnceUnlessItMayBeMadeTwice",
	},
	{
		"a body that is refused reaches no upstream", "adapters/gateway/upstream/message.go",
		"		case err != nil:\n\t\t\treturn err\n", "		case err != nil:\n\t\t\treturn nil\n",
		wire, "TestABodyThatBreaksOffReachesNoUpstream",
	},
	{
		"what comes in TLS without a question is not the next call's answer", "adapters/gateway/upstream/conn.go",
		"return n == 0 && errors.Is(err, errNothing) && c.socket.records.between()", "return n == 0 && errors.Is(err, errNothing)",
		wire, "TestWhatComesOnAnIdleTLSConnection",
	},
	{
		"what an upstream answers to our hanging up is not the end of an answer", "adapters/gateway/upstream/standard.go",
		"	if t.ctx.Err() != nil {", "	if false {",
		wire, "TestWhatIsAnsweredToAFarewellDoesNotCount",
	},
	{
		"a call that is over says nothing that an upstream could answer", "adapters/gateway/upstream/conn.go",
		"func (c *conn) abort() { _ = c.socket.Close() }", "func (c *conn) abort() { _ = c.Close() }",
		wire, "TestACancelledCallSaysNothingMore",
	},
	{
		"a used connection ends though it is busy", "adapters/gateway/upstream/pool.go",
		"old := !c.until.IsZero() && c.since.After(c.until)", "old := false",
		wire, "TestAChangedAddressIsFollowedUnderSteadyLoad",
	},
	{
		"a connection of the standard transport ends though it is busy", "adapters/gateway/upstream/standard.go",
		"if o.present != nil && (t.LiveFor <= 0 || now.Before(o.until)) {", "if o.present != nil {",
		wire, "TestAChangedAddressIsFollowedUnderSteadyLoad",
	},
}
