package upstream

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"net"
	"strings"
	"sync"
	"sync/atomic"
)

// Records and messages of TLS (RFC 8446 5.1, 4, 6; RFC 5246 7.4.1.1).
const (
	isAlert, isHandshake, isData = 21, 22, 23

	closeNotify  = "\x01\x00"
	userCanceled = "\x01\x5a" // a warning
	helloRequest = "\x00\x00\x00\x00"
	keyUpdate    = "\x18\x00\x00\x01\x00"
	ticket       = "\x04\x00\x00\x12\x00\x00\x0e\x10\x00\x00\x00\x00\x01\x07\x00\x04abcd\x00\x00" // for an hour
)

// byHand writes a server's records itself, so that they can be what crypto/tls never sends.
type byHand struct {
	raw     net.Conn
	version uint16
	secret  []byte // of TLS 1.3
	aead    cipher.AEAD
	iv      []byte
	count   uint64 // of records since the last change of keys
}

// keyLog hears a server's secrets.
type keyLog struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *keyLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// hears is a server's connection that knows its ServerHello, and how much it has heard.
type hears struct {
	net.Conn
	hello []byte
	heard atomic.Int64 // bytes
}

func (h *hears) Read(p []byte) (int, error) {
	n, err := h.Conn.Read(p)
	h.heard.Add(int64(n))
	return n, err
}

func (h *hears) Write(p []byte) (int, error) {
	if len(h.hello) == 0 {
		h.hello = bytes.Clone(p)
	}
	return h.Conn.Write(p)
}

// takeOver writes what comes after the handshake. Suite and tickets are as of handmade.
func takeOver(over *tls.Conn, log *keyLog) *byHand {
	heard := over.NetConn().(*hears)
	w := &byHand{raw: heard.Conn, version: over.ConnectionState().Version}
	label := "SERVER_TRAFFIC_SECRET_0 "
	if w.version == tls.VersionTLS12 {
		label = "CLIENT_RANDOM "
	}
	log.mu.Lock()
	text := log.text.String()
	line := text[strings.LastIndex(text, label)+len(label):]
	log.mu.Unlock()
	line, _, _ = strings.Cut(line, "\n")
	random, secret, _ := strings.Cut(line, " ")
	w.secret = must(hex.DecodeString(secret))
	if w.version == tls.VersionTLS13 {
		w.expand()
		return w
	}
	seed := append(bytes.Clone(heard.hello[11:43]), must(hex.DecodeString(random))...)
	block := prf(w.secret, "key expansion", seed, 40)
	w.aead, w.iv, w.count = must(cipher.NewGCM(must(aes.NewCipher(block[16:32])))), block[36:40], 1 // after Finished
	return w
}

// handmade is the configuration of a server whose connections can be taken over.
func handmade(version uint16, log *keyLog) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{good.leaf()}, MinVersion: version, MaxVersion: version, SessionTicketsDisabled: true, KeyLogWriter: log,
		CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
	}
}

// prf is that of TLS 1.2 (RFC 5246 5).
func prf(secret []byte, label string, seed []byte, size int) (out []byte) {
	sum := func(parts ...[]byte) []byte {
		h := hmac.New(sha256.New, secret)
		for _, p := range parts {
			h.Write(p)
		}
		return h.Sum(nil)
	}
	seed = append([]byte(label), seed...)
	for a := sum(seed); len(out) < size; a = sum(a) {
		out = append(out, sum(a, seed)...)
	}
	return out[:size]
}

// expand makes keys of the secret (RFC 8446 7.3).
func (w *byHand) expand() {
	w.aead = must(cipher.NewGCM(must(aes.NewCipher(w.derive("key", 16)))))
	w.iv, w.count = w.derive("iv", 12), 0
}

func (w *byHand) derive(label string, size int) []byte {
	info := append([]byte{0, byte(size), byte(len("tls13 " + label))}, "tls13 "+label+"\x00"...)
	return must(hkdf.Expand(sha256.New, w.secret, string(info), size))
}

// next goes on with new keys, after a keyUpdate (RFC 8446 7.2).
func (w *byHand) next() {
	w.secret = w.derive("traffic upd", sha256.Size)
	w.expand()
}

// record is one record, protected.
func (w *byHand) record(kind byte, text string) []byte {
	count := binary.BigEndian.AppendUint64(nil, w.count)
	w.count++
	header := []byte{kind, 3, 3}
	if w.version == tls.VersionTLS12 {
		header = binary.BigEndian.AppendUint16(header, uint16(8+len(text)+w.aead.Overhead()))
		about := binary.BigEndian.AppendUint16(append(bytes.Clone(count), kind, 3, 3), uint16(len(text)))
		return w.aead.Seal(append(header, count...), append(bytes.Clone(w.iv), count...), []byte(text), about)
	}
	header[0] = isData
	header = binary.BigEndian.AppendUint16(header, uint16(len(text)+1+w.aead.Overhead()))
	nonce := bytes.Clone(w.iv)
	for i, b := range count {
		nonce[4+i] ^= b
	}
	return w.aead.Seal(header, nonce, append([]byte(text), kind), header)
}

func (w *byHand) send(records ...[]byte) { _, _ = w.raw.Write(bytes.Join(records, nil)) }
