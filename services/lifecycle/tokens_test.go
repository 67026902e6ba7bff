package lifecycle_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/metadata"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/identity"
)

// whoami asks the API whom a token stands for, as a caller without any other name.
func (w *world) whoami(token string) (string, error) {
	ctx := metadata.AppendToOutgoingContext(w.Context(), "authorization", "Bearer "+token)
	review := &authenticationv1.SelfSubjectReview{}
	err := w.api.Client(identity.User{}).Create(ctx, review)
	return review.Status.UserInfo.Username, err
}

func TestATokenSecretIsFilledAndEndsWithItsAccount(t *testing.T) {
	w := start(t)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "robot"}}
	w.create(account)
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "robot-token", Annotations: map[string]string{corev1.ServiceAccountNameKey: "robot"}},
		Type:       corev1.SecretTypeServiceAccountToken,
	}
	w.create(secret)
	w.eventually("token", func() bool { return !w.gone(secret) && len(secret.Data["token"]) > 0 })
	require.Equal(t, w.ca, string(secret.Data["ca.crt"]))
	require.Equal(t, "default", string(secret.Data["namespace"]))
	require.Equal(t, string(account.UID), secret.Annotations[corev1.ServiceAccountUIDKey])
	token := string(secret.Data["token"])
	name, err := w.whoami(token)
	require.NoError(t, err)
	require.Equal(t, "system:serviceaccount:default:robot", name)

	w.eventually("its use is noted", func() bool {
		return !w.gone(secret) && secret.Labels["kubernetes.io/legacy-token-last-used"] == time.Now().UTC().Format("2006-01-02")
	})

	// Somebody empties it: it is filled again.
	delete(secret.Data, "token")
	require.NoError(t, w.admin.Update(t.Context(), secret))
	w.eventually("token again", func() bool { return !w.gone(secret) && len(secret.Data["token"]) > 0 })

	require.NoError(t, w.admin.Delete(t.Context(), account, client.DeleteOptions{}))
	w.eventually("secret", func() bool { return w.gone(secret) })
	_, err = w.whoami(token)
	require.Error(t, err, "the token ends with the Secret")

	orphan := secret.DeepCopy()
	orphan.ObjectMeta = metav1.ObjectMeta{Namespace: "default", Name: "orphan", Annotations: map[string]string{corev1.ServiceAccountNameKey: "nobody"}}
	orphan.Data = nil
	w.create(orphan)
	w.eventually("a Secret for an account that is not there", func() bool { return w.gone(orphan) })
}

func bootstrapToken(id string, change func(map[string][]byte)) *corev1.Secret {
	out := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "bootstrap-token-" + id}, Type: corev1.SecretTypeBootstrapToken,
		Data: map[string][]byte{"token-id": []byte(id), "token-secret": []byte("0123456789abcdef"), "usage-bootstrap-signing": []byte("true"), "usage-bootstrap-authentication": []byte("true")},
	}
	change(out.Data)
	return out
}

func TestBootstrapTokensSignTheClusterAndExpire(t *testing.T) {
	w := start(t)
	in := func(d time.Duration) func(map[string][]byte) {
		return func(data map[string][]byte) {
			data["expiration"] = []byte(time.Now().Add(d).UTC().Format(time.RFC3339))
		}
	}
	old := bootstrapToken("aaaaaa", in(-time.Minute))
	w.create(old)
	w.eventually("an expired token", func() bool { return w.gone(old) })

	info := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-public", Name: "cluster-info"}, Data: map[string]string{"kubeconfig": "the cluster"}}
	w.create(info)
	good := bootstrapToken("bbbbbb", in(time.Hour))
	w.create(good)
	w.create(bootstrapToken("cccccc", func(data map[string][]byte) { delete(data, "usage-bootstrap-signing") }))
	w.eventually("signature", func() bool { return !w.gone(info) && info.Data["jws-kubeconfig-bbbbbb"] != "" })
	require.Len(t, info.Data, 2, "only who may sign does")
	parts := strings.Split(info.Data["jws-kubeconfig-bbbbbb"], ".")
	header, err := base64.RawURLEncoding.DecodeString(parts[0])
	require.NoError(t, err)
	require.JSONEq(t, `{"alg":"HS256","kid":"bbbbbb"}`, string(header))
	mac := hmac.New(sha256.New, []byte("0123456789abcdef"))
	mac.Write([]byte(parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte("the cluster"))))
	require.Equal(t, base64.RawURLEncoding.EncodeToString(mac.Sum(nil)), parts[2])
	require.Empty(t, parts[1], "the content is not said twice")

	info.Data["kubeconfig"] = "the cluster elsewhere"
	before := info.Data["jws-kubeconfig-bbbbbb"]
	require.NoError(t, w.admin.Update(t.Context(), info))
	w.eventually("signature of what is there now", func() bool { return !w.gone(info) && info.Data["jws-kubeconfig-bbbbbb"] != before })
	require.NoError(t, w.admin.Delete(t.Context(), good, client.DeleteOptions{}))
	w.eventually("signature goes with the token", func() bool { return !w.gone(info) && len(info.Data) == 1 })
}
