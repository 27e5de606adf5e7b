package postgres

import (
	"fmt"
	"strings"

	"github.com/lib/pq"
)

// defaults are our sessions' parameters, most of them to make the server let go of a client that has vanished, with the locks
// it holds, soon after this side has given the connection up (docs/decisions/0019). What the URL, the role, the database or
// the server's own configuration sets stays.
var defaults = map[string]string{
	"tcp_keepalives_idle":                 "10",
	"tcp_keepalives_interval":             "5",
	"tcp_keepalives_count":                "3",
	"tcp_user_timeout":                    "15000",
	"idle_in_transaction_session_timeout": "5000", // between two statements of ours lie microseconds
	"jit":                                 "off",  // compiling an audit's statements takes a second, and saves none
}

func (c Config) connector() (*connector, error) {
	dsn, err := c.filled().dsn()
	if err != nil {
		return nil, err
	}
	config, err := pq.NewConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("read the database URL: %s", c.redact(err))
	}
	// Arrays, and values that are []byte, are sent as the server keeps them, and a query with its parameters in one round trip
	// instead of two. A []byte is then no jsonb, which has a form of its own: jsonb goes as a string.
	config.BinaryParameters = true
	return &connector{config: config, session: c.session(), endTimeout: endTimeout}, nil
}

// session is the statement that sets a new connection's parameters, as far as the server knows them. They are no start-up
// parameters, because a server or a pooler that does not know one of those refuses the connection.
func (c Config) session() string {
	var rows []string
	row := func(name, value string, ifUnset bool) {
		rows = append(rows, fmt.Sprintf("(%s, %s, %t)", pq.QuoteLiteral(name), pq.QuoteLiteral(value), ifUnset))
	}
	for name, value := range c.Settings {
		row(name, value, false)
	}
	for name, value := range defaults {
		if _, given := c.Settings[name]; !given {
			row(name, value, true)
		}
	}
	return `SELECT set_config(name, value, false) FROM pg_settings JOIN (VALUES ` + strings.Join(rows, ", ") + `)
		AS want (name, value, if_unset) USING (name) WHERE source <> 'client' AND (source = 'default' OR NOT if_unset)`
}
