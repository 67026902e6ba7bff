package node_test

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/agents/node"
	"karve.dev/karve/agents/node/runtime"
	"karve.dev/karve/agents/node/volume"
	karveclient "karve.dev/karve/internal/client"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/internal/transport"
)

// needy is a pod that uses what only the API has: a ConfigMap, a Secret as a file and as a variable, and a token.
func needy(name string) *corev1.Pod {
	p := pod(name, corev1.Container{
		Env: []corev1.EnvVar{{Name: "PASSWORD", ValueFrom: &corev1.EnvVarSource{
			SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "login"}, Key: "password"},
		}}},
		VolumeMounts: []corev1.VolumeMount{{Name: "all", MountPath: "/all"}},
	})
	p.Spec.Volumes = []corev1.Volume{{Name: "all", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
		{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}}},
		{Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "login"}}},
		{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token"}},
	}}}}}
	return p
}

// TestAgentStartsWhileTheAPIIsAway restarts the agent while the API is away. It keeps pods running by what it was told
// before, and when the API is back both agree.
func TestAgentStartsWhileTheAPIIsAway(t *testing.T) {
	w := newWorld(t, 24)
	w.setConfigMap(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "settings"}, Data: map[string]string{"colour": "blue"}})
	w.setSecret(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "login"}, Data: map[string][]byte{"password": []byte("hunter2")}})
	w.create(needy("crashes"))
	w.create(pod("ails", corev1.Container{LivenessProbe: &corev1.Probe{
		ProbeHandler:  corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"/app", "cat", "/tmp/well"}}},
		PeriodSeconds: 1, FailureThreshold: 8,
	}}))
	w.create(pod("goes", corev1.Container{}))
	crashes := w.wait("crashes", "running", running)
	w.wait("goes", "running", running)
	w.stop()

	l := newLine(w.conn(nodeName))
	l.cut()
	w.change = func(c *node.Config) { c.Conn, c.HealthConn, c.Client = l, l, karveclient.New(l, "kubelet") }
	w.delete("goes", 1)
	_, err := w.cli.ContainerKill(t.Context(), idOf(crashes), client.ContainerKillOptions{})
	require.NoError(t, err)
	w.start()
	w.untilRuns("crashes", 1)
	w.untilRuns("ails", 1)
	require.Contains(t, ask(t, crashes.Status.PodIP), "crashes")
	require.Equal(t, runtime.Running, w.attempt("goes", 0).State, "nobody has told the node")

	l.restore()
	w.wait("crashes", "restarted", restarted(1))
	w.wait("ails", "restarted", func(p *corev1.Pod) bool { return p.Status.ContainerStatuses[0].RestartCount >= 1 })
	w.wait("goes", "gone", gone)
}

// TestAgentStartsWhileTheAPIHangs has the API take connections and never say anything.
func TestAgentStartsWhileTheAPIHangs(t *testing.T) {
	w := newWorld(t, 27)
	w.create(pod("crashes", corev1.Container{}))
	crashes := w.wait("crashes", "running", running)
	w.until("the node knows all", func() bool { return w.acked == w.revision })
	w.stop()
	_, err := w.cli.ContainerKill(t.Context(), idOf(crashes), client.ContainerKillOptions{})
	require.NoError(t, err)
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close()
	conn, err := transport.Dial(silent.Addr().String(), w.as(identity.NodePrefix+nodeName))
	require.NoError(t, err)
	defer conn.Close()
	w.change = func(c *node.Config) { c.Conn, c.HealthConn, c.Client = conn, conn, karveclient.New(conn, "kubelet") }
	w.start()
	w.untilRuns("crashes", 1)
	w.stop()
}

// TestVolumesComeFirst has a pod wait for two volumes. Each is named, and no image is asked for before they are there.
func TestVolumesComeFirst(t *testing.T) {
	w := newWorld(t, 28)
	p := pod("waits", corev1.Container{VolumeMounts: []corev1.VolumeMount{{Name: "a", MountPath: "/a"}, {Name: "b", MountPath: "/b"}}}, corev1.Container{
		Name: "other", Args: []string{"sleep", "1h"}, VolumeMounts: []corev1.VolumeMount{{Name: "a", MountPath: "/a"}},
	})
	for _, name := range []string{"a", "b"} {
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
			ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "of-" + name}},
		}})
	}
	w.create(p)
	w.waitEvent(`FailedMount MountVolume.SetUp failed for volume "a" : configmap "of-a" not found`)
	w.waitEvent(`FailedMount MountVolume.SetUp failed for volume "b" : configmap "of-b" not found`)
	w.setConfigMap(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "of-a"}})
	w.setConfigMap(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "of-b"}})
	w.wait("waits", "running", running)
	w.mu.Lock()
	defer w.mu.Unlock()
	all := strings.Join(w.events, "\n")
	require.Equal(t, 2, strings.Count(all, " Pulled "), all)
	require.LessOrEqual(t, strings.Count(all, "FailedMount"), 4, all)
}

// untilRuns waits for an attempt of a pod's container that the API knows nothing of.
func (w *world) untilRuns(pod string, attempt int) {
	w.t.Helper()
	require.Eventually(w.t, func() bool { return w.attempt(pod, attempt).State == runtime.Running }, 30*time.Second, 50*time.Millisecond,
		"%s %v", pod, &w.events)
}

// TestMachineRestartsWhileTheAPIIsAway takes away what a restart of the machine does: containers, and what lies in memory.
func TestMachineRestartsWhileTheAPIIsAway(t *testing.T) {
	w := newWorld(t, 25)
	w.setConfigMap(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "settings"}})
	w.setSecret(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "login"}, Data: map[string][]byte{"password": []byte("hunter2")}})
	w.create(needy("secretive"))
	w.create(pod("plain", corev1.Container{}))
	w.wait("secretive", "running", running)
	w.wait("plain", "running", running)
	w.until("the node knows all", func() bool { return w.acked == w.revision })
	w.stop()
	require.NoError(t, volume.Unmount(w.dataDir))
	all, err := w.rt.List(t.Context(), runtime.Owner{Cluster: w.cluster, Node: nodeName})
	require.NoError(t, err)
	for _, c := range all {
		require.NoError(t, w.rt.Remove(t.Context(), c.ID))
	}

	l := newLine(w.conn(nodeName))
	l.cut()
	w.change = func(c *node.Config) { c.Conn, c.HealthConn, c.Client = l, l, karveclient.New(l, "kubelet") }
	w.start()
	w.untilRuns("plain", 1)
	w.waitEvent(`secret "login" not found`)
	w.waitEvent("Secrets are kept in memory only")
	require.Empty(t, w.attempt("secretive", 1).ID)
	l.restore()
	w.wait("secretive", "running", running)
	w.wait("plain", "running", restarted(1))
}
