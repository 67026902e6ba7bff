package volume

import (
	"context"
	"encoding/pem"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node/podfield"
)

// TestWhatLiesInAVolumeIsGoodWhileTheAPIIsAway prepares a pod's volume again as an agent does that has just started.
func TestWhatLiesInAVolumeIsGoodWhileTheAPIIsAway(t *testing.T) {
	needsRoot(t)
	bundle := &certificatesv1.ClusterTrustBundle{Spec: certificatesv1.ClusterTrustBundleSpec{
		TrustBundle: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte{1}})),
	}}
	pod := testPod(corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
		{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token"}},
		{ClusterTrustBundle: &corev1.ClusterTrustBundleProjection{Name: ptr("b"), Path: "trust"}},
		{PodCertificate: &corev1.PodCertificateProjection{SignerName: "s", KeyType: "ED25519", CredentialBundlePath: "both"}},
	}}})
	root := t.TempDir()
	content := func(control *signer) (map[string]string, error) {
		m := New(root, nil, control, nil)
		t.Cleanup(func() { require.NoError(t, m.Teardown("uid")) })
		out, err := m.Prepare(context.Background(), pod, &podfield.Facts{}, nil)
		files := map[string]string{}
		if err == nil {
			for _, name := range []string{"token", "trust", "both"} {
				files[name] = read(t, filepath.Join(out.Paths["v"], name))
			}
		}
		return files, err
	}
	well := &signer{token: func() {}, bundles: []*certificatesv1.ClusterTrustBundle{bundle}}
	before, err := content(well)
	require.NoError(t, err)
	require.Equal(t, []string{"both", "token", "trust"}, slices.Sorted(maps.Keys(before)))

	away := &signer{away: errors.New("the API is away")}
	after, err := content(away)
	require.NoError(t, err)
	require.Equal(t, before, after)

	// A token that has expired is worth nothing.
	require.NoError(t, os.RemoveAll(filepath.Join(root, "uid", "volumes", "v", dataLink)))
	well.life = time.Nanosecond
	_, err = content(well)
	require.NoError(t, err)
	_, err = content(away)
	require.ErrorContains(t, err, "the API is away")
}
