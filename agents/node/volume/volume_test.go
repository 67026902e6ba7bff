package volume

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/agents/node/podfield"
)

// objects holds ConfigMaps by name.
type objects map[string]map[string]string

func (o objects) ConfigMap(_, name string) *corev1.ConfigMap {
	if data, ok := o[name]; ok {
		return &corev1.ConfigMap{Data: data}
	}
	return nil
}

func (o objects) Secret(string, string) *corev1.Secret               { return nil }
func (o objects) Claim(string, string) *corev1.PersistentVolumeClaim { return nil }
func (o objects) Volume(string) *corev1.PersistentVolume             { return nil }

func testPod(source corev1.VolumeSource) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "pod", UID: "uid"},
		Spec: corev1.PodSpec{
			Volumes:    []corev1.Volume{{Name: "v", VolumeSource: source}},
			Containers: []corev1.Container{{VolumeMounts: []corev1.VolumeMount{{Name: "v"}}}},
		},
	}
}

func fromConfigMap(name string, items ...corev1.KeyToPath) corev1.VolumeSource {
	return corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: name}, Items: items}}
}

func read(t *testing.T, path string) string {
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(data)
}

func names(t *testing.T, dir string) (visible []string) {
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "..") {
			visible = append(visible, e.Name())
		}
	}
	return visible
}

func TestContentIsSwappedAsAWhole(t *testing.T) {
	have := objects{"cm": {"a": "1", "b": "1"}}
	m := New(t.TempDir(), have, nil, nil)
	pod := testPod(fromConfigMap("cm"))
	prepare := func() string {
		out, err := m.Prepare(context.Background(), pod, &podfield.Facts{}, nil)
		require.NoError(t, err)
		return out.Paths["v"]
	}
	dir := prepare()
	require.Equal(t, []string{"a", "b"}, names(t, dir))
	before, err := os.Readlink(filepath.Join(dir, dataLink))
	require.NoError(t, err)
	prepare()
	same, err := os.Readlink(filepath.Join(dir, dataLink))
	require.NoError(t, err)
	require.Equal(t, before, same, "what has not changed is not written")

	open, err := os.Open(filepath.Join(dir, dataLink))
	require.NoError(t, err)
	defer open.Close()
	have["cm"] = map[string]string{"b": "2", "c": "2"}
	prepare()
	require.Equal(t, []string{"b", "c"}, names(t, dir))
	require.Equal(t, "2", read(t, filepath.Join(dir, "b")))
	require.NoDirExists(t, filepath.Join(dir, before))

	require.NoError(t, m.Teardown("uid"))
	require.NoDirExists(t, filepath.Dir(filepath.Dir(dir)))
	require.NoError(t, m.Teardown("uid"))
}

func TestWhatNobodyUsesIsNotMade(t *testing.T) {
	m := New(t.TempDir(), objects{"cm": {"a": "1"}}, nil, nil)
	pod := testPod(fromConfigMap("cm"))
	pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: "unused", VolumeSource: fromConfigMap("missing")})
	out, err := m.Prepare(context.Background(), pod, &podfield.Facts{}, nil)
	require.NoError(t, err)
	require.Len(t, out.Paths, 1)
	require.True(t, out.Complete(pod))
	pod.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{VolumeMounts: []corev1.VolumeMount{{Name: "unused"}}}}}
	require.False(t, out.Complete(pod), "somebody uses it now")
	require.NoError(t, m.Teardown("uid"))
}

func TestItemsAndWhatIsMissing(t *testing.T) {
	m := New(t.TempDir(), objects{"cm": {"a": "1"}}, nil, nil)
	mode := int32(0o400)
	pod := testPod(fromConfigMap("cm", corev1.KeyToPath{Key: "a", Path: "deep/er/file", Mode: &mode}))
	out, err := m.Prepare(context.Background(), pod, &podfield.Facts{}, nil)
	require.NoError(t, err)
	path := filepath.Join(out.Paths["v"], "deep", "er", "file")
	require.Equal(t, "1", read(t, path))
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o400), info.Mode().Perm())

	for name, source := range map[string]corev1.VolumeSource{
		`configmap "none" not found`:                   fromConfigMap("none"),
		"references non-existent config key: b":        fromConfigMap("cm", corev1.KeyToPath{Key: "b", Path: "b"}),
		`invalid path "../escape"`:                     fromConfigMap("cm", corev1.KeyToPath{Key: "a", Path: "../escape"}),
		"this kind of volume is not supported yet":     {RBD: &corev1.RBDVolumeSource{}},
		"hostPath type check failed: /dev/null is not": {HostPath: &corev1.HostPathVolumeSource{Path: "/dev/null", Type: ptr(corev1.HostPathDirectory)}},
	} {
		_, err := m.Prepare(context.Background(), testPod(source), &podfield.Facts{}, nil)
		require.ErrorContains(t, err, name)
	}
	source := fromConfigMap("none")
	source.ConfigMap.Optional = ptr(true)
	_, err = m.Prepare(context.Background(), testPod(source), &podfield.Facts{}, nil)
	require.NoError(t, err)
}

func ptr[T any](v T) *T { return &v }

func TestTokensAreRenewedBeforeTheyExpire(t *testing.T) {
	issued := 0
	tokens := newTokenCache(&signer{token: func() { issued++ }})
	pod := testPod(corev1.VolumeSource{})
	r := &request{pod: pod, spec: &pod.Spec.Volumes[0], dir: t.TempDir()}
	for range 3 {
		_, refresh, err := tokens.get(context.Background(), r, &corev1.ServiceAccountTokenProjection{Path: "token"})
		require.NoError(t, err)
		require.WithinDuration(t, time.Now().Add(48*time.Minute), refresh, time.Minute)
	}
	require.Equal(t, 1, issued)
	tokens.forget("uid")
	require.Empty(t, tokens.byKey)
}

func TestSubPathStaysInItsVolume(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	outside, volume := t.TempDir(), t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600))
	require.NoError(t, os.Symlink(outside, filepath.Join(volume, "escape")))
	require.NoError(t, os.WriteFile(filepath.Join(volume, "file"), []byte("mine"), 0o600))
	m := New(t.TempDir(), nil, nil, nil)
	defer func() { require.NoError(t, m.Teardown("uid")) }()
	for _, path := range []string{"escape", "escape/secret", "../" + filepath.Base(outside)} {
		_, err := m.SubPath(Place{"uid", "c", 0}, volume, path)
		require.Error(t, err, path)
	}
	path, err := m.SubPath(Place{"uid", "c", 0}, volume, "file")
	require.NoError(t, err)
	require.Equal(t, "mine", read(t, path))
	path, err = m.SubPath(Place{"uid", "c", 1}, volume, "new/folder")
	require.NoError(t, err)
	require.DirExists(t, path)
	require.DirExists(t, filepath.Join(volume, "new", "folder"))
}

func TestWhoOwnsATokensFile(t *testing.T) {
	uid, other, gid := int64(1000), int64(1001), int64(2000)
	runs := func(pod *int64, containers ...*int64) *corev1.Pod {
		p := testPod(corev1.VolumeSource{})
		p.Spec.SecurityContext, p.Spec.Containers = &corev1.PodSecurityContext{RunAsUser: pod}, nil
		for _, user := range containers {
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{SecurityContext: &corev1.SecurityContext{RunAsUser: user}})
		}
		return p
	}
	grouped := runs(nil, nil)
	grouped.Spec.SecurityContext.FSGroup = &gid
	for what, c := range map[string]struct {
		pod  *corev1.Pod
		user *int64
		mode int32
	}{
		"nobody says":           {runs(nil, nil), nil, 0o644},
		"the pod says":          {runs(&uid, nil, nil), &uid, 0o600},
		"all containers say":    {runs(nil, &uid, &uid), &uid, 0o600},
		"a container disagrees": {runs(&uid, nil, &other), nil, 0o644},
		"one says nothing":      {runs(nil, &uid, nil), nil, 0o644},
		"a group":               {grouped, nil, 0o600},
	} {
		content := content{}
		require.NoError(t, content.addPrivate(c.pod, "token", nil, defaultMode))
		require.Equal(t, c.user, content["token"].user, what)
		require.Equal(t, c.mode, content["token"].mode, what)
	}
}

func TestAVolumeInMemoryIsBounded(t *testing.T) {
	const mi = 1 << 20
	quantity := func(n int64) *resource.Quantity { return resource.NewQuantity(n, resource.BinarySI) }
	limited := func(limits ...int64) *corev1.Pod {
		p := testPod(corev1.VolumeSource{})
		for _, n := range limits {
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceMemory: *quantity(n)}}})
		}
		return p
	}
	for _, c := range []struct {
		pod   *corev1.Pod
		limit int64
		want  int64
	}{
		{limited(), 0, 1000 * mi}, {limited(), 10 * mi, 10 * mi}, {limited(20*mi, 30*mi), 0, 50 * mi},
		{limited(20 * mi), 30 * mi, 20 * mi}, {limited(2000 * mi), 0, 1000 * mi},
	} {
		require.Equal(t, c.want, memorySize(c.pod, &corev1.EmptyDirVolumeSource{SizeLimit: quantity(c.limit)}, 1000*mi))
	}
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	m := New(t.TempDir(), nil, nil, nil)
	pod := testPod(corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory, SizeLimit: quantity(mi)}})
	out, err := m.Prepare(context.Background(), pod, &podfield.Facts{}, nil)
	require.NoError(t, err)
	require.ErrorIs(t, os.WriteFile(filepath.Join(out.Paths["v"], "f"), make([]byte, 2*mi), 0o600), unix.ENOSPC)
	require.NoError(t, m.Teardown("uid"))
}
