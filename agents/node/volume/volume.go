// Package volume prepares what pods mount. A pod's volumes lie below <root>/<uid>/volumes/<name>; whatever is secret
// lies in memory. Content that can change is replaced atomically, by swapping a symbolic link. Nothing is remembered:
// preparing a volume again repairs or refreshes it, and what belongs to no pod is swept away at start.
package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node/machine"
	"karve.dev/karve/agents/node/podfield"
)

// Objects are what pods on this node refer to. The returned objects must not be changed.
type Objects interface {
	ConfigMap(namespace, name string) *corev1.ConfigMap
	Secret(namespace, name string) *corev1.Secret
	Claim(namespace, name string) *corev1.PersistentVolumeClaim
	Volume(name string) *corev1.PersistentVolume
}

// Control is what projected volumes ask of the control plane.
type Control interface {
	// Token issues a service-account token that dies with its pod.
	Token(ctx context.Context, pod *corev1.Pod, p *corev1.ServiceAccountTokenProjection) (token string, expiry time.Time, err error)
	// TrustBundles returns the one that is named, or those of the signer; none is no error.
	TrustBundles(ctx context.Context, p *corev1.ClusterTrustBundleProjection) ([]*certificatesv1.ClusterTrustBundle, error)
	// RequestCertificate asks a signer for a pod's certificate and returns the request's name; CertificateRequest tells
	// what has become of one.
	RequestCertificate(ctx context.Context, pod *corev1.Pod, p *corev1.PodCertificateProjection, csr []byte) (name string, err error)
	CertificateRequest(ctx context.Context, namespace, name string) (*certificatesv1.PodCertificateRequestStatus, error)
}

// Manager prepares volumes. It is safe for concurrent use, but not for the same pod.
type Manager struct {
	root    string // empty: nothing is written
	objects Objects
	control Control
	tokens  *tokenCache
	folders *Folders
	disks   machine.Disks

	certificates certificates
}

// NewPretending returns a manager that writes nothing, for containers that are only pretended.
func NewPretending() *Manager { return &Manager{tokens: newTokenCache(nil)} }

// New returns a manager that keeps pods' volumes below root, and finds the volumes that the node keeps in folders.
func New(root string, objects Objects, control Control, folders *Folders) *Manager {
	return &Manager{
		root: root, objects: objects, control: control, tokens: newTokenCache(control), folders: folders,
		certificates: certificates{byKey: map[string]*heldCertificate{}},
	}
}

// Prepared is where a pod's volumes are on the host.
type Prepared struct {
	Paths map[string]string
	// ReadOnly are the volumes that no container may write to, Devices those that are block devices.
	ReadOnly, Devices map[string]bool
	// Servers are the machines that volumes lie on which do not lie on this one.
	Servers map[string]string
	// Refresh is when a token or certificate needs renewal; zero for never.
	Refresh time.Time
}

// request is one volume of one pod.
type request struct {
	pod   *corev1.Pod
	facts *podfield.Facts
	spec  *corev1.Volume
	dir   string
	out   *Prepared
	// layers are the image's, of an image volume.
	layers []string
	// readOnly and block are what the volume turns out to be.
	readOnly, block bool
	server          string
}

// refreshBy asks for the volume to be made anew at a time, if not earlier.
func (r *request) refreshBy(at time.Time) {
	if r.out.Refresh.IsZero() || at.Before(r.out.Refresh) {
		r.out.Refresh = at
	}
}

// kinds is every supported kind of volume: which one a specification is, and how it is prepared.
var kinds = []struct {
	is      func(*corev1.VolumeSource) bool
	prepare func(*Manager, context.Context, *request) (path string, err error)
}{
	{func(v *corev1.VolumeSource) bool { return v.EmptyDir != nil }, (*Manager).emptyDir},
	{func(v *corev1.VolumeSource) bool { return v.HostPath != nil }, (*Manager).hostPath},
	{func(v *corev1.VolumeSource) bool { return v.ConfigMap != nil }, (*Manager).configMap},
	{func(v *corev1.VolumeSource) bool { return v.Secret != nil }, (*Manager).secret},
	{func(v *corev1.VolumeSource) bool { return v.DownwardAPI != nil }, (*Manager).downwardAPI},
	{func(v *corev1.VolumeSource) bool { return v.Projected != nil }, (*Manager).projected},
	{func(v *corev1.VolumeSource) bool { return v.PersistentVolumeClaim != nil || v.Ephemeral != nil }, (*Manager).claim},
	{func(v *corev1.VolumeSource) bool { return v.NFS != nil }, (*Manager).nfs},
	{func(v *corev1.VolumeSource) bool { return v.Image != nil }, (*Manager).image},
}

// Prepare makes the volumes that a pod's containers use, or refreshes them. Layers are the folders of its image volumes' images. The error
// joins those of all volumes that could not be made.
func (m *Manager) Prepare(ctx context.Context, pod *corev1.Pod, facts *podfield.Facts, layers map[string][]string) (*Prepared, error) {
	if len(pod.Spec.Volumes) == 0 {
		return &Prepared{}, nil
	}
	out := &Prepared{Paths: map[string]string{}, ReadOnly: map[string]bool{}, Devices: map[string]bool{}, Servers: map[string]string{}}
	used := Used(pod)
	var errs []error
	for i := range pod.Spec.Volumes {
		spec := &pod.Spec.Volumes[i]
		if !used[spec.Name] {
			continue
		}
		if m.root == "" {
			out.Paths[spec.Name] = "/"
			continue
		}
		r := &request{
			pod: pod, facts: facts, spec: spec, dir: filepath.Join(m.podDir(string(pod.UID)), "volumes", spec.Name), out: out, layers: layers[spec.Name],
		}
		path, err := m.prepare(ctx, r)
		if err != nil {
			errs = append(errs, fmt.Errorf("MountVolume.SetUp failed for volume %q : %w", spec.Name, err))
			continue
		}
		out.Paths[spec.Name], out.ReadOnly[spec.Name], out.Devices[spec.Name] = path, r.readOnly, r.block
		if r.server != "" {
			out.Servers[spec.Name] = r.server
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return out, nil
}

func (m *Manager) prepare(ctx context.Context, r *request) (string, error) {
	for _, kind := range kinds {
		if kind.is(&r.spec.VolumeSource) {
			return kind.prepare(m, ctx, r)
		}
	}
	return "", errors.New("this kind of volume is not supported yet")
}

func (m *Manager) podDir(uid string) string { return filepath.Join(m.root, filepath.Base(uid)) }

// Unmount takes away what is mounted for a pod. It returns the names of volumes that the kernel could not finish with,
// since their server does not answer: nobody sees them any more, but what has not been written yet waits for the server.
func (m *Manager) Unmount(uid string) (unfinished []string, err error) {
	if m.root == "" {
		return nil, nil
	}
	points, err := unmountBelow(m.podDir(uid))
	for _, p := range points {
		unfinished = append(unfinished, filepath.Base(p))
	}
	return unfinished, err
}

// Teardown removes everything of a pod.
func (m *Manager) Teardown(uid string) error {
	m.tokens.forget(uid)
	m.certificates.forget(uid)
	if m.root == "" {
		return nil
	}
	if _, err := os.Lstat(m.podDir(uid)); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if _, err := m.Unmount(uid); err != nil {
		return err
	}
	root, err := os.OpenRoot(m.root)
	if err != nil {
		return fmt.Errorf("open the folder of pods: %w", err)
	}
	defer root.Close()
	if err := removeAll(context.Background(), root, filepath.Base(uid)); err != nil {
		return fmt.Errorf("remove volumes of pod %s: %w", uid, err)
	}
	return nil
}

// Sweep removes what is left of pods that keep does not name.
func (m *Manager) Sweep(keep func(uid string) bool) error {
	entries, err := os.ReadDir(m.root)
	if m.root == "" || errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", m.root, err)
	}
	var errs []error
	for _, e := range entries {
		if !keep(e.Name()) {
			errs = append(errs, m.Teardown(e.Name()))
		}
	}
	return errors.Join(errs...)
}

// File writes one file of the agent's own for a pod (its /etc/hosts, say) and returns its path.
func (m *Manager) File(uid, name, content string, mode os.FileMode) (string, error) {
	if m.root == "" {
		return "", nil
	}
	dir := m.podDir(uid)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make the pod's folder: %w", err)
	}
	path := filepath.Join(dir, name)
	if old, err := os.ReadFile(path); err == nil && string(old) == content {
		return path, nil
	}
	// In place, not by rename: containers that mount the file keep seeing it.
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		return "", fmt.Errorf("write %s: %w", name, err)
	}
	return path, os.Chmod(path, mode)
}

// Path is where File puts a file.
func (m *Manager) Path(uid, name string) string { return filepath.Join(m.podDir(uid), name) }
