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

// certificates writes into a folder a server's certificate (server.pem, server.key) for names and addresses, the authority
// that it is from (ca.pem), and another one (other.pem).
func certificates(folder string, hosts []string) {
	own, signer := authority("authority")
	save(folder, "ca.pem", "CERTIFICATE", own.Raw)
	other, _ := authority("another authority")
	save(folder, "other.pem", "CERTIFICATE", other.Raw)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	server := template("server")
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			server.IPAddresses = append(server.IPAddresses, ip)
		} else {
			server.DNSNames = append(server.DNSNames, host)
		}
	}
	server.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	made, err := x509.CreateCertificate(rand.Reader, server, own, &key.PublicKey, signer)
	must(err)
	save(folder, "server.pem", "CERTIFICATE", made)
	private, err := x509.MarshalECPrivateKey(key)
	must(err)
	save(folder, "server.key", "EC PRIVATE KEY", private)
}

func template(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
}

func authority(name string) (*x509.Certificate, *ecdsa.PrivateKey) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	own := template(name)
	own.IsCA, own.BasicConstraintsValid, own.KeyUsage = true, true, x509.KeyUsageCertSign
	made, err := x509.CreateCertificate(rand.Reader, own, own, &key.PublicKey, key)
	must(err)
	read, err := x509.ParseCertificate(made)
	must(err)
	return read, key
}

func save(folder, name, kind string, content []byte) {
	text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content})
	must(os.WriteFile(filepath.Join(folder, name), text, 0o644))
}
