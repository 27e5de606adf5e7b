//go:build !unix

package upstream

// canTellFresh is false where an idle connection cannot be looked at without waiting: all calls are the standard transport's.
const canTellFresh = false

func (c *conn) fresh() bool { return false }
