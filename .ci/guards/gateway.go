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
		"	s.finished = true\n\ts.call.cause = err\n", "	_ = s.finish(true)\n\ts.call.cause = err\n",
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
		"bytes after an answer are not the next call's answer", "adapters/gateway/upstream/fresh_unix.go",
		"nothing = err == syscall.EAGAIN || err == syscall.EWOULDBLOCK", "nothing = err != syscall.EPERM",
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
}
