package main

import (
	"fmt"
	"slices"
	"strings"
)

// traffic is a kind of calls: what one call in so many sends and gets, and by which way the upstream is reached.
type traffic struct {
	flag   string // its name on the command line
	name   string
	shapes []shape
	plain  bool // upstreams over plain HTTP take part
	secure bool // upstreams over TLS take part
}

// shape is one form of call. Each endpoint is sold by every API of a marketplace, and known to the upstream.
type shape struct {
	share  int // of the calls of its kind, in tenths
	method string
	path   string
	body   string // of the request
	answer int    // bytes of the answer's body
}

// The shapes. A small answer is a quote; a page and an export are what lists and downloads are like.
var (
	getQuote  = shape{method: "GET", path: "/quote", answer: len(quote)}
	postOrder = shape{method: "POST", path: "/orders", body: text(1 << 10), answer: len(quote)}
	getPage   = shape{method: "GET", path: "/page", answer: 1 << 10}
	getExport = shape{method: "GET", path: "/export", answer: 64 << 10}

	shapes = []shape{getQuote, postOrder, getPage, getExport}
)

// kinds are the traffic that can be measured. The mix is the one that DESIGN names as what users send.
var kinds = []traffic{
	{"get", "GET", []shape{getQuote.times(10)}, true, false},
	{"post", "POST 1 kB", []shape{postOrder.times(10)}, true, false},
	{"tls", "POST 1 kB, TLS upstream", []shape{postOrder.times(10)}, false, true},
	{"mix", "mix", []shape{getPage.times(6), postOrder.times(3), getExport.times(1)}, true, true},
}

func (s shape) times(tenths int) shape {
	s.share = tenths
	return s
}

// text is n bytes of JSON.
func text(n int) string {
	const before, after = `{"note":"`, `"}`
	return before + strings.Repeat("x", n-len(before)-len(after)) + after
}

// kindsOf finds kinds by their flags.
func kindsOf(list string) ([]traffic, error) {
	var found []traffic
	for _, flag := range strings.Split(list, ",") {
		i := slices.IndexFunc(kinds, func(k traffic) bool { return k.flag == flag })
		if i < 0 {
			return nil, fmt.Errorf("there is no kind %q; there are %s", flag, flagsOf(kinds))
		}
		found = append(found, kinds[i])
	}
	return found, nil
}

func flagsOf(kinds []traffic) string {
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = k.flag
	}
	return strings.Join(names, ",")
}

// buyer is a key and what it opens.
type buyer struct {
	slug   string
	key    string
	charge string // of each call; "": nothing is charged
	secure bool   // its API's upstream is reached over TLS
}

// requests are the calls of these buyers, each shape as often as its share says: who draws from them at random sends the
// traffic.
func (t traffic) requests(buyers []buyer) (all []request) {
	for _, b := range buyers {
		if b.secure && !t.secure || !b.secure && !t.plain {
			continue
		}
		for _, s := range t.shapes {
			r := newRequest(s, b)
			for range s.share {
				all = append(all, r)
			}
		}
	}
	return all
}
