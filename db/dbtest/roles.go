package dbtest

import (
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/jmoiron/sqlx"
)

// operations is where operators find the rights of roles, from the folder of a test two levels down.
const operations = "../../docs/OPERATIONS.md"

// Roles makes a database for a role that migrates and one that serves, by the very statements of docs/OPERATIONS.md, and
// returns its address for each. It has no schema yet.
func Roles(t testing.TB) (owner, app string) {
	t.Helper()
	s := server(t)
	text, err := os.ReadFile(operations)
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(text), "```sql\n")
	if len(blocks) != 3 {
		t.Fatalf("%s has %d blocks of SQL, want one for the administrator and one for the owner", operations, len(blocks)-1)
	}
	name := fmt.Sprintf("callora_roles_%d_%x_%d", os.Getpid(), started, counter.Add(1))
	own := strings.NewReplacer("callora_owner", name+"_owner", "callora_app", name+"_app", "DATABASE callora", "DATABASE "+name)
	as := func(role string) string {
		u, err := url.Parse(s.urlOf(name))
		if err != nil {
			t.Fatal(err)
		}
		u.User = url.UserPassword(name+role, "secret")
		return u.String()
	}
	t.Cleanup(func() {
		for _, statement := range []string{"DATABASE IF EXISTS " + name + " WITH (FORCE)", "ROLE IF EXISTS " + name + "_app", "ROLE IF EXISTS " + name + "_owner"} {
			if err := s.admin("DROP " + statement); err != nil {
				t.Errorf("drop the test's %s: %v", statement, err)
			}
		}
	})
	for i, run := range []func(string) error{s.admin, func(statement string) error {
		pool, err := sqlx.Connect("postgres", as("_owner"))
		if err != nil {
			return err
		}
		defer pool.Close()
		_, err = pool.Exec(statement)
		return err
	}} {
		block, _, _ := strings.Cut(blocks[i+1], "```")
		for statement := range strings.SplitSeq(own.Replace(block), ";\n") {
			if err := run(statement); err != nil {
				t.Fatalf("%s: %v", statement, err)
			}
		}
	}
	return as("_owner"), as("_app")
}
