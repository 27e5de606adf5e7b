package routes

import "testing"

func TestABaseURLIsJoinedWithOneSlash(t *testing.T) {
	t.Parallel()
	for base, want := range map[string]string{"http://h": "", "http://h/": "", "http://h//": "", "http://h/a/": "/a", "http://h//a//": "/a", "http://h/%61": "/%61"} {
		if got, err := NewTarget(base); err != nil || got.Prefix != want {
			t.Errorf("%s: %+v, %v", base, got, err)
		}
	}
	for _, base := range []string{"", "h", "ftp://h", "http://", "://"} {
		if _, err := NewTarget(base); err == nil {
			t.Errorf("%s is a target", base)
		}
	}
}
