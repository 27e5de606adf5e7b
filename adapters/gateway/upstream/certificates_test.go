package upstream

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"sync"
	"time"
)

// authority issues certificates.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	once sync.Once
}

var good, bad = &authority{}, &authority{} // the one that is trusted, and another

func (a *authority) open() {
	a.once.Do(func() {
		template := &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "an authority"}, NotAfter: time.Now().Add(time.Hour),
			IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		}
		a.key = must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
		a.cert = must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key))))
	})
}

func (a *authority) pool() *x509.CertPool {
	a.open()
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// leaf is a certificate for 127.0.0.1 and localhost, changed as asked.
func (a *authority) leaf(changes ...func(*x509.Certificate)) tls.Certificate {
	a.open()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
	}
	for _, change := range changes {
		change(template)
	}
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	return tls.Certificate{Certificate: [][]byte{must(x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key))}, PrivateKey: key}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
