package node_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"karve.dev/karve/agents/node/runtime"
)

// ask connects to a pod's server, which may need a moment to come up, and returns what it says.
func ask(t testing.TB, ip string) (said string) {
	t.Helper()
	require.Eventually(t, func() bool {
		conn, err := net.DialTimeout("tcp", net.JoinHostPort(ip, "8080"), 5*time.Second)
		if err != nil {
			return false
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "?")
		data, err := io.ReadAll(conn)
		said = string(data)
		return err == nil
	}, 20*time.Second, 5*time.Millisecond)
	return said
}

// output waits for a pod that runs to completion and returns what it wrote.
func (w *world) output(name string) string {
	w.t.Helper()
	p := w.wait(name, "finished", func(p *corev1.Pod) bool {
		return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
	})
	return w.log(p)
}

// log is what a pod's container has written.
func (w *world) log(p *corev1.Pod) string {
	w.t.Helper()
	var out bytes.Buffer
	require.NoError(w.t, w.rt.Logs(context.Background(), idOf(p), runtime.LogOptions{Tail: -1}, &out, &out))
	return out.String()
}

// idOf is the engine's ID of a pod's first container.
func idOf(p *corev1.Pod) string {
	return strings.TrimPrefix(p.Status.ContainerStatuses[0].ContainerID, "docker://")
}

// once is a pod that runs a command to its end.
func once(name string, args ...string) *corev1.Pod {
	p := pod(name, corev1.Container{Args: args})
	p.Spec.RestartPolicy = corev1.RestartPolicyNever
	return p
}

func restarted(times int32) func(*corev1.Pod) bool {
	return func(p *corev1.Pod) bool { return running(p) && p.Status.ContainerStatuses[0].RestartCount == times }
}

func TestPodRunsAndGoes(t *testing.T) {
	w := newWorld(t, 1)
	w.create(pod("web", corev1.Container{}))
	p := w.wait("web", "running", running)
	require.Contains(t, ask(t, p.Status.PodIP), "web", "the host name is the pod's")
	require.Equal(t, "10.232.1.2", p.Status.PodIP)
	require.NotEmpty(t, p.Status.HostIP)
	require.True(t, strings.HasPrefix(p.Status.ContainerStatuses[0].ContainerID, "docker://"))
	require.NotEmpty(t, p.Status.ContainerStatuses[0].ImageID)
	w.waitEvent("is used from the engine")
	w.waitEvent("Started Container started")

	w.delete("web", 5)
	w.wait("web", "gone", gone)
	w.waitEvent("Killing Stopping container app")
	require.Eventually(t, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.acked == w.revision && w.beats > 0
	}, 5*time.Second, 5*time.Millisecond, "revisions are acknowledged")
}

func TestPodHealsItself(t *testing.T) {
	w := newWorld(t, 2)
	ctx := context.Background()
	w.create(pod("web", corev1.Container{}))
	p := w.wait("web", "running", running)
	address := p.Status.PodIP
	id := idOf(p)

	// docker kill: the container comes back, as a new one.
	_, err := w.cli.ContainerKill(ctx, id, client.ContainerKillOptions{})
	require.NoError(t, err)
	p = w.wait("web", "restarted", restarted(1))
	require.NotEqual(t, "docker://"+id, p.Status.ContainerStatuses[0].ContainerID)
	require.EqualValues(t, 137, p.Status.ContainerStatuses[0].LastTerminationState.Terminated.ExitCode)

	// docker rm -f of everything: the whole pod comes back, with its address.
	all, err := w.rt.List(ctx, runtime.Owner{Cluster: w.cluster, Node: nodeName})
	require.NoError(t, err)
	for _, c := range all {
		require.NoError(t, w.rt.Remove(ctx, c.ID))
	}
	w.waitEvent("SandboxChanged")
	p = w.wait("web", "back", restarted(2))
	require.Equal(t, address, p.Status.PodIP)
	require.Contains(t, ask(t, p.Status.PodIP), "web")
}

func TestAgentRestartTouchesNothing(t *testing.T) {
	w := newWorld(t, 3)
	ctx := context.Background()
	ready := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(8080)}}, PeriodSeconds: 1}
	for _, name := range []string{"stays", "deleted", "vanishes"} {
		w.create(pod(name, corev1.Container{ReadinessProbe: ready}))
	}
	before := w.wait("stays", "running", running)
	w.wait("deleted", "running", running)
	lost := w.wait("vanishes", "running", running)

	w.stop()
	w.delete("deleted", 1)
	w.remove("vanishes")
	forgotten := filepath.Join(w.dataDir, "pods", "forgotten")
	require.NoError(t, os.MkdirAll(filepath.Join(forgotten, "volumes", "v"), 0o755))
	w.start()
	w.wait("deleted", "gone", gone)
	require.Eventually(t, func() bool {
		all, err := w.rt.List(ctx, runtime.Owner{Cluster: w.cluster, Node: nodeName})
		require.NoError(t, err)
		for _, c := range all {
			if c.UID == string(lost.UID) {
				return false
			}
		}
		return true
	}, 20*time.Second, 50*time.Millisecond, "what is left of a pod that is gone is removed")
	require.Eventually(t, func() bool {
		_, err := os.Lstat(forgotten)
		return errors.Is(err, os.ErrNotExist)
	}, 20*time.Second, 50*time.Millisecond, "also what no container is left of")
	w.create(pod("after", corev1.Container{}))
	w.wait("after", "running", running)
	after := w.wait("stays", "running", running)
	require.Equal(t, before.Status, after.Status, "nothing about the pod has changed")
	require.Contains(t, ask(t, after.Status.PodIP), "stays")
}

func TestCrashLoop(t *testing.T) {
	w := newWorld(t, 4)
	w.create(pod("crash", corev1.Container{Args: []string{"crash"}}))
	p := w.wait("crash", "in back-off", func(p *corev1.Pod) bool {
		s := p.Status.ContainerStatuses
		return len(s) > 0 && s[0].State.Waiting != nil && s[0].State.Waiting.Reason == "CrashLoopBackOff"
	})
	s := p.Status.ContainerStatuses[0]
	require.EqualValues(t, 1, s.RestartCount, "the first restart is immediate")
	require.Contains(t, s.State.Waiting.Message, "back-off 10s restarting failed container=app pod=crash_default(")
	require.EqualValues(t, 3, s.LastTerminationState.Terminated.ExitCode)
	require.Equal(t, "Error", s.LastTerminationState.Terminated.Reason)
	require.Equal(t, "it broke", s.LastTerminationState.Terminated.Message)
	w.waitEvent("BackOff Back-off restarting failed container app in pod crash_default(")

	w.create(pod("nonsense", corev1.Container{Command: []string{"/nonsense"}}))
	p = w.wait("nonsense", "failed to start", func(p *corev1.Pod) bool {
		s := p.Status.ContainerStatuses
		return len(s) > 0 && s[0].LastTerminationState.Terminated != nil
	})
	end := p.Status.ContainerStatuses[0].LastTerminationState.Terminated
	require.Equal(t, "StartError", end.Reason)
	require.EqualValues(t, 128, end.ExitCode)
	require.Contains(t, end.Message, "/nonsense")
	w.delete("nonsense", 0) // not while the engine makes its next container
	w.wait("nonsense", "gone", gone)
}

func TestImagesThatCannotBeHad(t *testing.T) {
	w := newWorld(t, 5)
	for name, c := range map[string]struct {
		image, reason string
		policy        corev1.PullPolicy
	}{
		"never":   {"karve-nodetest-missing:1", "ErrImageNeverPull", corev1.PullNever},
		"invalid": {"Not/A:Valid:Name", "InvalidImageName", corev1.PullIfNotPresent},
		"missing": {"127.0.0.1:1/missing:1", "ImagePullBackOff", corev1.PullIfNotPresent},
	} {
		p := pod(name, corev1.Container{})
		p.Spec.Containers[0].Image, p.Spec.Containers[0].ImagePullPolicy = c.image, c.policy
		w.create(p)
		p = w.wait(name, c.reason, func(p *corev1.Pod) bool {
			s := p.Status.ContainerStatuses
			return len(s) > 0 && s[0].State.Waiting != nil && s[0].State.Waiting.Reason == c.reason
		})
		require.Equal(t, corev1.PodPending, p.Status.Phase)
		require.NotEmpty(t, p.Status.ContainerStatuses[0].State.Waiting.Message)
		w.delete(name, 1)
		w.wait(name, "gone", gone)
	}
	w.waitEvent("BackOff Back-off pulling image")

	// The image of a volume is told by its own name.
	p := pod("volume", corev1.Container{VolumeMounts: []corev1.VolumeMount{{Name: "v", MountPath: "/v"}}})
	p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: "127.0.0.1:1/layers:1"}}}}
	w.create(p)
	w.wait("volume", "back-off", func(p *corev1.Pod) bool {
		s := p.Status.ContainerStatuses
		return len(s) > 0 && s[0].State.Waiting != nil && strings.HasPrefix(s[0].State.Waiting.Message, `Back-off pulling image "127.0.0.1:1/layers:1"`)
	})
}

func TestPodsInDetail(t *testing.T) {
	w := newWorld(t, 6)
	for name, test := range map[string]func(*testing.T, *world){
		"init containers run one by one, sidecars beside": initContainers,
		"environment":            environmentTest,
		"volumes":                volumesTest,
		"volumes follow":         volumesFollow,
		"probes":                 probesTest,
		"grace":                  graceTest,
		"completion":             completion,
		"host network":           hostNetwork,
		"shared memory and pids": sharing,
		"security context":       security,
		"hosts and resolv.conf":  hosts,
		"lifecycle hooks":        hooks,
		"image changes in place": imageChange,
		"resize in place":        resizeTest,
		"as by a kubelet":        asByAKubelet,
		"variables from a file":  fromAFile,
		"the pod's resources":    ofThePod,
	} {
		t.Run(name, func(t *testing.T) { test(t, w) })
	}
}

func initContainers(t *testing.T, w *world) {
	always := corev1.ContainerRestartPolicyAlways
	p := pod("inits", corev1.Container{Args: []string{"cat", "/shared/first", "/shared/second"}, VolumeMounts: shared()})
	p.Spec.RestartPolicy = corev1.RestartPolicyNever
	p.Spec.Volumes = []corev1.Volume{{Name: "shared", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	p.Spec.InitContainers = []corev1.Container{
		{Name: "one", Image: appImage, Args: []string{"write", "/shared/first", "1"}, VolumeMounts: shared()},
		{Name: "side", Image: appImage, RestartPolicy: &always},
		{Name: "two", Image: appImage, Args: []string{"write", "/shared/second", "2"}, VolumeMounts: shared()},
	}
	w.create(p)
	require.Equal(t, "12", w.output("inits"))
	p = w.wait("inits", "without its sidecar", func(p *corev1.Pod) bool { return p.Status.InitContainerStatuses[1].State.Terminated != nil })
	require.Equal(t, corev1.PodSucceeded, p.Status.Phase)
	w.delete("inits", 1)
	w.wait("inits", "gone", gone)
}

func shared() []corev1.VolumeMount {
	return []corev1.VolumeMount{{Name: "shared", MountPath: "/shared"}}
}

func environmentTest(t *testing.T, w *world) {
	w.setConfigMap(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "settings"}, Data: map[string]string{"COLOUR": "blue"}})
	w.setSecret(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "keys"}, Data: map[string][]byte{"key": []byte("s3cret")}})
	p := once("environment", "env")
	p.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{Prefix: "CM_", ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}}}}
	p.Spec.Containers[0].Env = []corev1.EnvVar{
		{Name: "PLAIN", Value: "a"},
		{Name: "EXPANDED", Value: "$(PLAIN)-$(CM_COLOUR)-$(UNKNOWN)-$$(PLAIN)"},
		{Name: "SECRET", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "keys"}, Key: "key"}}},
		{Name: "IP", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIP"}}},
		{Name: "CPUS", ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "limits.cpu"}}},
	}
	w.create(p)
	out := strings.Split(strings.TrimSpace(w.output("environment")), "\n")
	require.Subset(t, out, []string{"CM_COLOUR=blue", "PLAIN=a", "EXPANDED=a-blue-$(UNKNOWN)-$(PLAIN)", "SECRET=s3cret", "HOSTNAME=environment"})
	require.Contains(t, strings.Join(out, "\n"), "\nIP=10.232.6.")

	// A reference that leads nowhere is told, and mended when the object comes.
	p = once("waiting", "env")
	p.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "late"}}}}
	w.create(p)
	p = w.wait("waiting", "told", func(p *corev1.Pod) bool {
		s := p.Status.ContainerStatuses
		return len(s) > 0 && s[0].State.Waiting != nil && s[0].State.Waiting.Reason == "CreateContainerConfigError"
	})
	require.Equal(t, `configmap "late" not found`, p.Status.ContainerStatuses[0].State.Waiting.Message)
	w.setConfigMap(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "late"}, Data: map[string]string{"CAME": "yes"}})
	require.Contains(t, w.output("waiting"), "CAME=yes")

	// So is a path whose variable is not there: it is no name of a folder.
	p = pod("path", corev1.Container{VolumeMounts: []corev1.VolumeMount{{Name: "v", MountPath: "/v", SubPathExpr: "$(NOBODY)"}}})
	p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	w.create(p)
	w.wait("path", "told", func(p *corev1.Pod) bool {
		s := p.Status.ContainerStatuses
		return len(s) > 0 && s[0].State.Waiting != nil && s[0].State.Waiting.Message == "missing value for NOBODY"
	})
}
