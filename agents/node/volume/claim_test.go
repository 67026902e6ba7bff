package volume

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/agents/node/podfield"
	"karve.dev/karve/internal/volume"
)

// bound is a claim with its volume.
type bound struct {
	objects
	claim  *corev1.PersistentVolumeClaim
	volume *corev1.PersistentVolume
}

func (b *bound) Claim(string, string) *corev1.PersistentVolumeClaim { return b.claim }
func (b *bound) Volume(string) *corev1.PersistentVolume             { return b.volume }

// pair returns a claim that is bound to a volume with a source.
func pair(source corev1.PersistentVolumeSource) *bound {
	b := &bound{
		claim:  &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "claim", UID: "c"}},
		volume: &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv"}},
	}
	b.claim.Spec.VolumeName, b.claim.Status.Phase = "pv", corev1.ClaimBound
	b.volume.Spec.PersistentVolumeSource = source
	b.volume.Spec.ClaimRef = &corev1.ObjectReference{Namespace: "ns", Name: "claim", UID: "c"}
	return b
}

func localAt(path string) corev1.PersistentVolumeSource {
	return corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: path}}
}

func fromClaim() *corev1.Pod {
	return testPod(corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "claim"}})
}

func prepared(t *testing.T, have Objects, folders string, pod *corev1.Pod) (*Prepared, error) {
	m := New(t.TempDir(), have, nil, NewFolders(folders))
	t.Cleanup(func() { require.NoError(t, m.Teardown("uid")) })
	return m.Prepare(context.Background(), pod, &podfield.Facts{}, nil)
}

func TestALocalFolderComesWithItsFirstPodAndGoesWithItsVolume(t *testing.T) {
	root := filepath.Join(t.TempDir(), "volumes")
	have := pair(localAt(filepath.Join(root, "ns_claim_pv")))
	have.volume.Annotations = map[string]string{volume.ProvisionedBy: volume.LocalProvisioner}
	out, err := prepared(t, have, root, fromClaim())
	require.NoError(t, err)
	dir := out.Paths["v"]
	require.NoError(t, os.WriteFile(filepath.Join(dir, "data"), []byte("kept"), 0o600))
	info, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o777), info.Mode().Perm())
	_, err = prepared(t, have, root, fromClaim())
	require.NoError(t, err)
	require.Equal(t, "kept", read(t, filepath.Join(dir, "data")))

	folders := NewFolders(root)
	for _, path := range []string{"/etc", root, filepath.Join(root, "a", "b"), filepath.Join(root, ".."), root + "/.", root + "/", root + "//x"} {
		other := have.volume.DeepCopy()
		other.Spec.Local.Path = path
		require.Error(t, folders.Remove(context.Background(), other), path)
	}
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "a", "b"), 0o755))
	for i := range 600 {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "a", fmt.Sprint(i)), nil, 0o600))
	}
	require.NoError(t, os.Symlink("/etc", filepath.Join(dir, "a", "link")))
	ended, end := context.WithCancel(context.Background())
	end()
	require.ErrorIs(t, folders.Remove(ended, have.volume), context.Canceled)
	require.NoError(t, folders.Remove(context.Background(), have.volume))
	require.NoDirExists(t, dir)
	require.NoError(t, folders.Remove(context.Background(), have.volume))
}

func TestClaimsThatCannotBeMountedSayWhy(t *testing.T) {
	dir := t.TempDir()
	for want, change := range map[string]func(*bound){
		`persistentvolumeclaim "claim" not found`:                 func(b *bound) { b.claim = nil },
		"PVC is not bound":                                        func(b *bound) { b.claim.Status.Phase = corev1.ClaimPending },
		`persistentvolume "pv" not found`:                         func(b *bound) { b.volume = nil },
		`volume "pv" is not bound to claim "ns/claim"`:            func(b *bound) { b.volume.Spec.ClaimRef.UID = "another" },
		`path "/no/such/path" does not exist`:                     func(b *bound) { b.volume.Spec.Local.Path = "/no/such/path" },
		"is not a block device":                                   func(b *bound) { b.volume.Spec.VolumeMode = ptr(corev1.PersistentVolumeBlock) },
		`volumes of the kind of "pv" cannot be mounted here`:      func(b *bound) { b.volume.Spec.Local = nil },
		`MountVolume.SetUp failed for volume "v" : persistentvol`: func(b *bound) { b.claim = nil },
	} {
		have := pair(localAt(dir))
		change(have)
		_, err := prepared(t, have, dir, fromClaim())
		require.ErrorContains(t, err, want)
	}
}

func TestAVolumeIsGivenToTheGroupOnceAndAsThePolicySays(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	group := func(path string) uint32 {
		var st syscall.Stat_t
		require.NoError(t, syscall.Lstat(path, &st))
		return st.Gid
	}
	dir, outside := t.TempDir(), filepath.Join(t.TempDir(), "outside")
	deep := filepath.Join(dir, "a", "b")
	require.NoError(t, os.MkdirAll(filepath.Dir(deep), 0o700))
	require.NoError(t, os.WriteFile(deep, nil, 0o600))
	require.NoError(t, os.WriteFile(outside, nil, 0o600))
	require.NoError(t, os.Symlink(outside, filepath.Join(dir, "link")))
	pod := fromClaim()
	pod.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: ptr(int64(4321))}
	_, err := prepared(t, pair(localAt(dir)), dir, pod)
	require.NoError(t, err)
	require.EqualValues(t, 4321, group(deep))
	require.NotEqualValues(t, 4321, group(outside), "links lead nowhere")
	info, err := os.Stat(deep)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o660), info.Mode().Perm())

	// The folder is the group's already: what is in it is left alone.
	require.NoError(t, os.Chown(deep, 0, 0))
	pod.Spec.SecurityContext.FSGroupChangePolicy = ptr(corev1.FSGroupChangeOnRootMismatch)
	_, err = prepared(t, pair(localAt(dir)), dir, pod)
	require.NoError(t, err)
	require.EqualValues(t, 0, group(deep))
}

func TestDevicesAreMountedOrPassedOn(t *testing.T) {
	device := loopDevice(t)
	have := pair(localAt(device))
	have.volume.Spec.VolumeMode = ptr(corev1.PersistentVolumeBlock)
	out, err := prepared(t, have, "", fromClaim())
	require.NoError(t, err)
	require.True(t, out.Devices["v"])
	require.Equal(t, device, out.Paths["v"])

	// As a file system, it gets one the first time; what is on it stays.
	for range 2 {
		m := New(t.TempDir(), pair(localAt(device)), nil, nil)
		out, err := m.Prepare(context.Background(), fromClaim(), &podfield.Facts{}, nil)
		require.NoError(t, err)
		require.DirExists(t, filepath.Join(out.Paths["v"], "lost+found"))
		require.NoError(t, os.WriteFile(filepath.Join(out.Paths["v"], "kept"), nil, 0o600))
		require.NoError(t, m.Teardown("uid"))
	}
}

// loopDevice makes a small block device out of a file.
func loopDevice(t *testing.T) string {
	if _, err := exec.LookPath("losetup"); err != nil || os.Getuid() != 0 {
		t.Skip("needs root and losetup")
	}
	file := filepath.Join(t.TempDir(), "disk")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	require.NoError(t, os.Truncate(file, 16<<20))
	out, err := exec.Command("losetup", "--find", "--show", file).CombinedOutput()
	if err != nil {
		t.Skipf("no loop devices here: %s", out)
	}
	device := strings.TrimSpace(string(out))
	t.Cleanup(func() { require.NoError(t, exec.Command("losetup", "--detach", device).Run()) })
	return device
}

func TestTeardownLeavesAloneWhatWasMounted(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	precious, base := t.TempDir(), t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(precious, "data"), []byte("kept"), 0o600))
	// The agent knows its folder by a link: the kernel does not.
	link := filepath.Join(base, "link")
	require.NoError(t, os.Mkdir(filepath.Join(base, "real"), 0o755))
	require.NoError(t, os.Symlink("real", link))
	m := New(link, nil, nil, nil)
	at := filepath.Join(link, "uid", "volumes", "v")
	require.NoError(t, os.MkdirAll(at, 0o755))
	require.NoError(t, unix.Mount(precious, at, "", unix.MS_BIND, ""))
	require.NoError(t, m.Teardown("uid"))
	require.NoDirExists(t, filepath.Join(link, "uid"))
	require.Equal(t, "kept", read(t, filepath.Join(precious, "data")))
}
