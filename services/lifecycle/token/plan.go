package token

import (
	"bytes"

	corev1 "k8s.io/api/core/v1"
)

// step is what to do about a token's Secret.
type step int

const (
	keep step = iota
	fill
	remove
)

// next decides: a Secret whose ServiceAccount is not there, or is another one of that name, goes; one that misses
// something is filled. Account is nil when there is none.
func next(secret *corev1.Secret, account *corev1.ServiceAccount, ca []byte) step {
	if secret.DeletionTimestamp != nil {
		return keep
	}
	if account == nil || account.DeletionTimestamp != nil {
		return remove
	}
	if uid := secret.Annotations[corev1.ServiceAccountUIDKey]; uid != "" && uid != string(account.UID) {
		return remove
	}
	if needsToken(secret) || secret.Annotations[corev1.ServiceAccountUIDKey] == "" || !bytes.Equal(secret.Data[corev1.ServiceAccountRootCAKey], ca) ||
		len(secret.Data[corev1.ServiceAccountNamespaceKey]) == 0 {
		return fill
	}
	return keep
}

func needsToken(secret *corev1.Secret) bool {
	return len(secret.Data[corev1.ServiceAccountTokenKey]) == 0
}

// complete writes into a Secret what it misses; token is used only when it has none.
func complete(secret *corev1.Secret, account *corev1.ServiceAccount, ca []byte, token string) {
	if secret.Data == nil {
		secret.Data = map[string][]byte{}
	}
	secret.Annotations[corev1.ServiceAccountUIDKey] = string(account.UID)
	secret.Data[corev1.ServiceAccountRootCAKey] = ca
	if len(secret.Data[corev1.ServiceAccountNamespaceKey]) == 0 {
		secret.Data[corev1.ServiceAccountNamespaceKey] = []byte(secret.Namespace)
	}
	if needsToken(secret) {
		secret.Data[corev1.ServiceAccountTokenKey] = []byte(token)
	}
}
