package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// certificate is what upstreams over TLS show, as files. It signs itself, so that whoever is to trust it is given it as its
// roots.
type certificate struct{ cert, key string }

// localName is the certificate's name, besides 127.0.0.1.
const localName = "localhost"

func newCertificate(dir string) (c certificate, err error) {
	c = certificate{filepath.Join(dir, "upstream.pem"), filepath.Join(dir, "upstream-key.pem")}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return c, err
	}
	now := time.Now()
	t := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "bench upstream"}, NotBefore: now.Add(-time.Hour),
		NotAfter: now.AddDate(0, 0, 1), DNSNames: []string{localName}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		BasicConstraintsValid: true, IsCA: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return c, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return c, err
	}
	if err := os.WriteFile(c.cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
		return c, err
	}
	return c, os.WriteFile(c.key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600)
}

// trusted is the environment in which a program trusts the certificate. Go's programs heed it on Unix, but for macOS.
func (c certificate) trusted() string { return "SSL_CERT_FILE=" + c.cert }
