package logging

import (
	"bytes"
	"encoding/json"
	"io"
	"regexp"
	"slices"

	"github.com/CalloraOrg/callora-backend/domain/apikey"
)

// redactor strikes secrets out of encoded lines, wherever they are: in a message, an error's text, a nested value. It is
// the second net under guarded, and the one that cannot be forgotten. Whole lines arrive in one Write.
type redactor struct {
	out     io.Writer
	secrets [][]byte
	shapes  []shape
}

// shape is a kind of secret that is known by its looks. mark is sought first: it is cheap, and seldom there.
type shape struct {
	mark []byte
	re   *regexp.Regexp
	with []byte
}

func newRedactor(out io.Writer, secrets []string) *redactor {
	s := &redactor{out: out, shapes: []shape{
		{mark: []byte("eyJ"), re: regexp.MustCompile(`eyJ[0-9A-Za-z_-]+\.[0-9A-Za-z_-]+(\.[0-9A-Za-z_-]*)?`), with: []byte(struck)},
		{mark: []byte("earer "), re: regexp.MustCompile(`([Bb]earer )[^\s"\\,]+`), with: []byte("${1}" + struck)},
		{mark: []byte("://"), re: regexp.MustCompile(`(://[^\s"/:@]*:)[^\s"/@]+@`), with: []byte("${1}" + struck + "@")},
		{mark: []byte("password="), re: regexp.MustCompile(`(password=)('[^'\n]*'|[^\s"&]+)`), with: []byte("${1}" + struck)},
	}}
	for _, secret := range secrets {
		if secret == "" {
			continue
		}
		s.secrets = append(s.secrets, []byte(secret))
		if quoted, err := json.Marshal(secret); err == nil { // as it looks inside a JSON string
			if inner := quoted[1 : len(quoted)-1]; string(inner) != secret {
				s.secrets = append(s.secrets, inner)
			}
		}
	}
	return s
}

func (s *redactor) Write(p []byte) (int, error) {
	line := p
	for _, secret := range s.secrets {
		if bytes.Contains(line, secret) {
			line = bytes.ReplaceAll(line, secret, []byte(struck))
		}
	}
	for _, sh := range s.shapes {
		if bytes.Contains(line, sh.mark) {
			line = sh.re.ReplaceAll(line, sh.with)
		}
	}
	if _, err := s.out.Write(strikeKeys(line)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// strikeKeys leaves of each API key its public prefix, which tells an operator which key it was. Nearly every line of the
// gateway holds a prefix, so this is written by hand: a regular expression took most of the time of logging.
func strikeKeys(line []byte) []byte {
	for at := 0; ; {
		i := bytes.Index(line[at:], []byte(apikey.Mark))
		if i < 0 {
			return line
		}
		at += i + len(apikey.Mark)
		end := at
		for end < len(line) && alphanumeric(line[end]) {
			end++
		}
		if secret := at - len(apikey.Mark) + apikey.PrefixLength; secret < end {
			line = slices.Concat(line[:secret], []byte(struck), line[end:])
			at = secret
		}
	}
}

func alphanumeric(c byte) bool {
	return ('0' <= c && c <= '9') || ('a' <= c && c <= 'z') || ('A' <= c && c <= 'Z')
}
