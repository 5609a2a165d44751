package lab

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"time"
)

// certificates are PEM files: one certificate for everybody, its key, and the CA that signed it, whose own key nobody keeps.
type certificates struct{ cert, key, ca []byte }

// labLife is how long a lab's certificates are valid.
const labLife = 365 * 24 * time.Hour

func newCertificates(name string, ips []string) (certificates, error) {
	var out certificates
	ca := certificateFor(1, "vzlab "+name+" CA")
	ca.IsCA, ca.BasicConstraintsValid, ca.KeyUsage = true, true, x509.KeyUsageCertSign
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return out, err
	}
	own := certificateFor(2, "vzlab "+name)
	own.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	for _, ip := range ips {
		own.IPAddresses = append(own.IPAddresses, net.ParseIP(ip))
	}
	ownKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return out, err
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		return out, err
	}
	ownDER, err := x509.CreateCertificate(rand.Reader, own, ca, ownKey.Public(), caKey)
	if err != nil {
		return out, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(ownKey)
	if err != nil {
		return out, err
	}
	block := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	return certificates{cert: block("CERTIFICATE", ownDER), key: block("PRIVATE KEY", keyDER), ca: block("CERTIFICATE", caDER)}, nil
}

func certificateFor(serial int64, name string) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(labLife),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
}
