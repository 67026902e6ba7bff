package node_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"karve.dev/karve/agents/node/runtime"
)

func mount(name, path string) corev1.VolumeMount {
	return corev1.VolumeMount{Name: name, MountPath: path}
}

func named(name string) corev1.LocalObjectReference { return corev1.LocalObjectReference{Name: name} }

func volumesTest(t *testing.T, w *world) {
	w.setConfigMap(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "files"}, Data: map[string]string{"a": "1", "b": "2"}})
	w.setSecret(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "certs"}, Data: map[string][]byte{"tls": []byte("cert")}})
	host := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(host, "sub"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(host, "sub", "file"), []byte("host"), 0o644))
	p := once("volumes", "cat", "/cm/a", "/cm/b", "/secret/tls", "/host/file", "/projected/token", "/projected/name", "/memory/../cm/a")
	p.Labels = map[string]string{"app": "volumes"}
	p.Spec.Volumes = []corev1.Volume{
		{Name: "cm", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: named("files")}}},
		{Name: "secret", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "certs"}}},
		{Name: "host", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: host}}},
		{Name: "memory", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}}},
		{Name: "projected", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token"}},
			{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{{Path: "name", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels['app']"}}}}},
		}}}},
	}
	host0 := mount("host", "/host")
	host0.SubPath = "sub"
	p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{mount("cm", "/cm"), mount("secret", "/secret"), mount("memory", "/memory"), mount("projected", "/projected"), host0}
	created := w.create(p)
	require.Regexp(t, `^12certhost\S+\.token-of-default-for-volumesvolumes1$`, w.output("volumes"))
	mounted := func() string {
		mounts, err := os.ReadFile("/proc/self/mountinfo")
		require.NoError(t, err)
		return string(mounts)
	}
	require.Eventually(t, func() bool { return !strings.Contains(mounted(), string(created.UID)) }, 10*time.Second, 20*time.Millisecond,
		"a pod that has ended holds no memory")
	w.delete("volumes", 1)
	w.wait("volumes", "gone", gone)
	require.NoDirExists(t, filepath.Join(w.dataDir, "pods", string(created.UID)))
	require.NotContains(t, mounted(), string(created.UID), "nothing stays mounted")
}

func volumesFollow(t *testing.T, w *world) {
	version := func(v string) *corev1.ConfigMap {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "live"}, Data: map[string]string{"version": v}}
	}
	w.setConfigMap(version("one"))
	p := pod("follow", corev1.Container{VolumeMounts: []corev1.VolumeMount{mount("live", "/live")}})
	p.Spec.Volumes = []corev1.Volume{{Name: "live", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: named("live")}}}}
	w.create(p)
	p = w.wait("follow", "running", running)
	w.setConfigMap(version("two"))
	require.Eventually(t, func() bool { return w.exec(p, "/app", "cat", "/live/version") == "two" }, 10*time.Second, 20*time.Millisecond)
	w.delete("follow", 1)
	w.wait("follow", "gone", gone)
}

// exec runs a command in a pod's container and returns what it wrote.
func (w *world) exec(p *corev1.Pod, command ...string) string {
	w.t.Helper()
	var out bytes.Buffer
	id := idOf(p)
	_, err := w.rt.Exec(context.Background(), id, runtime.ExecSpec{Command: command}, runtime.Streams{Stdout: &out, Stderr: &out})
	require.NoError(w.t, err)
	return out.String()
}

func probesTest(t *testing.T, w *world) {
	get := corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/", Port: intstr.FromString("web")}}
	failing := corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"/app", "cat", "/tmp/healthy"}}}
	w.create(pod("probed", corev1.Container{
		Ports:          []corev1.ContainerPort{{Name: "web", ContainerPort: 8080}},
		StartupProbe:   &corev1.Probe{ProbeHandler: get, PeriodSeconds: 1, FailureThreshold: 30},
		ReadinessProbe: &corev1.Probe{ProbeHandler: get, PeriodSeconds: 1},
		LivenessProbe:  &corev1.Probe{ProbeHandler: get, PeriodSeconds: 1},
	}))
	w.create(pod("unready", corev1.Container{ReadinessProbe: &corev1.Probe{ProbeHandler: failing, PeriodSeconds: 1}}))
	w.create(pod("unhealthy", corev1.Container{LivenessProbe: &corev1.Probe{ProbeHandler: failing, PeriodSeconds: 1, FailureThreshold: 2}}))
	p := w.wait("probed", "ready", running)
	require.True(t, *p.Status.ContainerStatuses[0].Started)
	w.wait("unhealthy", "restarted", func(p *corev1.Pod) bool {
		return len(p.Status.ContainerStatuses) > 0 && p.Status.ContainerStatuses[0].RestartCount > 0
	})
	w.waitEvent("Unhealthy Liveness probe failed: open /tmp/healthy")
	w.waitEvent("Killing Container app failed liveness probe, will be restarted")
	p = w.wait("unready", "running", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodRunning })
	require.False(t, ready(p))
	w.exec(p, "/app", "write", "/tmp/healthy", "yes")
	w.wait("unready", "ready", running)
	for _, name := range []string{"probed", "unready", "unhealthy"} {
		w.delete(name, 0)
		w.wait(name, "gone", gone)
	}
}

func graceTest(t *testing.T, w *world) {
	w.create(pod("stubborn", corev1.Container{Args: []string{"ignore"}}))
	p := w.wait("stubborn", "running", running)
	require.Eventually(t, func() bool { return w.log(p) == "ignoring\n" }, 20*time.Second, 5*time.Millisecond)
	begun := time.Now()
	w.delete("stubborn", 30)
	w.waitEvent("stubborn spec.containers{app} Normal Killing")
	w.delete("stubborn", 1) // asked again, with less patience
	w.wait("stubborn", "gone", gone)
	require.Less(t, time.Since(begun), 15*time.Second)
	require.GreaterOrEqual(t, time.Since(begun), time.Second)
}

func completion(t *testing.T, w *world) {
	w.create(once("good", "print", "done"))
	w.create(once("bad", "exit", "7"))
	require.Equal(t, "done\n", w.output("good"))
	p := w.wait("bad", "failed", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed })
	require.EqualValues(t, 7, p.Status.ContainerStatuses[0].State.Terminated.ExitCode)
	require.Eventually(t, func() bool {
		all, err := w.rt.List(context.Background(), runtime.Owner{Cluster: w.cluster, Node: nodeName})
		require.NoError(t, err)
		for _, c := range all {
			if c.Pod == "good" && c.IsSandbox() {
				return false
			}
		}
		return true
	}, 10*time.Second, 20*time.Millisecond, "a finished pod holds no sandbox")
	p = w.wait("good", "succeeded", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodSucceeded })
	require.Equal(t, "Completed", p.Status.ContainerStatuses[0].State.Terminated.Reason)
}

func hostNetwork(t *testing.T, w *world) {
	p := once("hostnet", "print", "$(IP)")
	p.Spec.HostNetwork = true
	p.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "IP", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIP"}}}}
	w.create(p)
	out := strings.TrimSpace(w.output("hostnet"))
	require.Equal(t, w.wait("hostnet", "there", func(p *corev1.Pod) bool { return true }).Status.HostIP, out)
}

func sharing(t *testing.T, w *world) {
	yes := true
	p := pod("sharing", corev1.Container{Name: "one"}, corev1.Container{Name: "two", Args: []string{"sleep", "1h"}})
	p.Spec.ShareProcessNamespace = &yes
	w.create(p)
	p = w.wait("sharing", "running", running)
	require.Contains(t, w.exec(p, "/app", "get", "127.0.0.1:8080"), "sharing", "containers share the network")
	require.Contains(t, w.exec(p, "/app", "cat", "/proc/1/cmdline"), "/pause", "and, where asked, processes")
	w.update("sharing", func(p *corev1.Pod) {
		p.Spec.EphemeralContainers = []corev1.EphemeralContainer{{
			EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debug", Image: appImage, Args: []string{"get", "127.0.0.1:8080"}},
			TargetContainerName:      "one",
		}}
	})
	w.wait("sharing", "debugged", func(p *corev1.Pod) bool {
		s := p.Status.EphemeralContainerStatuses
		return len(s) == 1 && s[0].State.Terminated != nil && s[0].State.Terminated.ExitCode == 0
	})
	w.delete("sharing", 0)
	w.wait("sharing", "gone", gone)
}

func security(t *testing.T, w *world) {
	uid, gid, yes, no := int64(1234), int64(77), true, false
	p := once("secure", "cat", "/proc/self/status")
	p.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: &uid, SupplementalGroups: []int64{4444}}
	p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{
		RunAsGroup: &gid, AllowPrivilegeEscalation: &no, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}
	w.create(p)
	out := strings.Join(strings.Fields(w.output("secure")), " ")
	require.Contains(t, out, "Uid: 1234 1234 1234 1234 Gid: 77 77 77 77")
	require.Contains(t, out, "4444")
	require.Contains(t, out, "CapBnd: 0000000000000000")
	require.Contains(t, out, "NoNewPrivs: 1")

	p = once("root", "env")
	p.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsNonRoot: &yes}
	w.create(p)
	p = w.wait("root", "refused", func(p *corev1.Pod) bool {
		s := p.Status.ContainerStatuses
		return len(s) > 0 && s[0].State.Waiting != nil && s[0].State.Waiting.Reason == "CreateContainerConfigError"
	})
	require.Contains(t, p.Status.ContainerStatuses[0].State.Waiting.Message, "container has runAsNonRoot and image will run as root")

	p = once("limits", "cat", "/proc/self/oom_score_adj")
	p.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi"), corev1.ResourceCPU: resource.MustParse("500m")}
	w.create(p)
	w.output("limits")
	for _, name := range []string{"secure", "root", "limits"} {
		w.delete(name, 0)
		w.wait(name, "gone", gone)
	}
}

func hosts(t *testing.T, w *world) {
	p := once("hosts", "cat", "/etc/hosts", "/etc/resolv.conf")
	p.Spec.HostAliases = []corev1.HostAlias{{IP: "192.0.2.7", Hostnames: []string{"seven"}}}
	p.Spec.DNSPolicy = corev1.DNSNone
	ndots := "2"
	p.Spec.DNSConfig = &corev1.PodDNSConfig{Nameservers: []string{"192.0.2.53"}, Searches: []string{"example.org"}, Options: []corev1.PodDNSConfigOption{{Name: "ndots", Value: &ndots}}}
	w.create(p)
	out := w.output("hosts")
	require.Regexp(t, `10\.232\.6\.\d+\thosts\n`, out)
	require.Contains(t, out, "192.0.2.7\tseven\n")
	require.True(t, strings.HasSuffix(out, "search example.org\nnameserver 192.0.2.53\noptions ndots:2\n"), out)
}

func hooks(t *testing.T, w *world) {
	host := t.TempDir()
	p := pod("hooked", corev1.Container{
		VolumeMounts: []corev1.VolumeMount{mount("out", "/out")},
		Lifecycle: &corev1.Lifecycle{
			PostStart: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"/app", "write", "/out/started", "1"}}},
			PreStop:   &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"/app", "write", "/out/stopping", "1"}}},
		},
	})
	p.Spec.Volumes = []corev1.Volume{{Name: "out", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: host}}}}
	w.create(p)
	w.wait("hooked", "running", running)
	require.FileExists(t, filepath.Join(host, "started"), "a container is ready after its postStart hook")
	w.delete("hooked", 5)
	w.wait("hooked", "gone", gone)
	require.FileExists(t, filepath.Join(host, "stopping"))
}

func imageChange(t *testing.T, w *world) {
	w.create(pod("changing", corev1.Container{}))
	w.wait("changing", "running", running)
	w.update("changing", func(p *corev1.Pod) { p.Spec.Containers[0].Image = strings.TrimSuffix(appImage, ":latest") })
	p := w.wait("changing", "restarted", restarted(1))
	require.Equal(t, strings.TrimSuffix(appImage, ":latest"), p.Status.ContainerStatuses[0].Image)
	w.delete("changing", 0)
	w.wait("changing", "gone", gone)
}
