package identity

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
)

// oidUID is the attribute of a subject that holds the user's UID, as Kubernetes has registered it.
var oidUID = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57683, 2}

// CertificateUID returns the UID that a client certificate's subject names, empty when it names none.
func CertificateUID(cert *x509.Certificate) (string, error) {
	uid := ""
	for _, name := range cert.Subject.Names {
		if !name.Type.Equal(oidUID) {
			continue
		}
		value, ok := name.Value.(string)
		if !ok || value == "" {
			return "", errors.New("the certificate's UID is not a text")
		}
		if uid != "" {
			return "", errors.New("the certificate names more than one UID")
		}
		uid = value
	}
	return uid, nil
}
