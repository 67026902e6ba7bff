package node_test

import (
	"testing"

	"github.com/moby/moby/client"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// waiting tells whether a pod's container waits for a reason.
func waiting(reason string) func(*corev1.Pod) bool {
	return func(p *corev1.Pod) bool {
		s := p.Status.ContainerStatuses
		return len(s) > 0 && s[0].State.Waiting != nil && s[0].State.Waiting.Reason == reason
	}
}

func failed(reason string) func(*corev1.Pod) bool {
	return func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed && p.Status.Reason == reason }
}

func published(name string) *corev1.Pod {
	return pod(name, corev1.Container{Ports: []corev1.ContainerPort{{ContainerPort: 8080, HostPort: 21233, Protocol: corev1.ProtocolTCP}}})
}

// asByAKubelet holds what was found by comparison with one: each pod has to come to a state, and an event has to tell of it.
func asByAKubelet(t *testing.T, w *world) {
	for _, c := range []struct {
		name   string
		change func(*corev1.Pod)
		state  func(*corev1.Pod) bool
		event  string
	}{
		{"restarts-by-rule", func(p *corev1.Pod) {
			p.Spec.RestartPolicy = corev1.RestartPolicyNever
			p.Spec.Containers[0].Args = []string{"exit", "42"}
			p.Spec.Containers[0].RestartPolicy = new(corev1.ContainerRestartPolicyNever)
			p.Spec.Containers[0].RestartPolicyRules = []corev1.ContainerRestartRule{{
				Action:    corev1.ContainerRestartRuleActionRestart,
				ExitCodes: &corev1.ContainerRestartRuleOnExitCodes{Operator: corev1.ContainerRestartRuleOnExitCodesOpIn, Values: []int32{42}},
			}}
		}, func(p *corev1.Pod) bool { return waiting("CrashLoopBackOff")(p) && p.Status.Phase == corev1.PodRunning }, "BackOff Back-off restarting failed container app in pod restarts-by-rule"},
		{"no-such-command", func(p *corev1.Pod) { p.Spec.Containers[0].Command = []string{"/nope"} },
			func(p *corev1.Pod) bool {
				return waiting("RunContainerError")(p) && p.Status.ContainerStatuses[0].ImageID != ""
			}, "Failed Error: "},
		{"no-such-probe", func(p *corev1.Pod) {
			p.Spec.Containers[0].LivenessProbe = &corev1.Probe{
				ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"/nope"}}}, PeriodSeconds: 1, FailureThreshold: 1, TimeoutSeconds: 30,
			}
		}, running, "Unhealthy Liveness probe errored and resulted in unknown state: OCI runtime exec failed"},
		{"out-of-time", func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = new(int64(1)) },
			failed("DeadlineExceeded"), "DeadlineExceeded Pod was active on the node longer than the specified deadline"},
		{"many-servers", func(p *corev1.Pod) {
			p.Spec.DNSPolicy = corev1.DNSNone
			p.Spec.DNSConfig = &corev1.PodDNSConfig{Nameservers: []string{"192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"}}
		}, running, "DNSConfigForming Nameserver limits were exceeded"},
		{"first", func(p *corev1.Pod) { *p = *published("first") }, running, "Started Container started"},
		{"second", func(p *corev1.Pod) { *p = *published("second") }, failed("NodePorts"), "NodePorts Predicate NodePorts failed"},
	} {
		p := pod(c.name, corev1.Container{})
		c.change(p)
		w.create(p)
		w.wait(c.name, "as it should be", c.state)
		w.waitEvent(c.event)
	}
	for _, name := range []string{"restarts-by-rule", "no-such-command", "no-such-probe", "out-of-time", "many-servers", "first", "second"} {
		w.delete(name, 0)
		w.wait(name, "gone", gone)
	}
}

// fromAFile: variables that an init container has written, and a host name of the pod's own choice.
func fromAFile(t *testing.T, w *world) {
	p := once("from-a-file", "env")
	p.Spec.HostnameOverride = new("any.name")
	p.Spec.Volumes = []corev1.Volume{{Name: "shared", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	p.Spec.InitContainers = []corev1.Container{{Name: "writes", Image: appImage, Args: []string{"write", "/shared/env", "# mine\nCOLOUR='blue and green'\n"}, VolumeMounts: shared()}}
	p.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "C", ValueFrom: &corev1.EnvVarSource{
		FileKeyRef: &corev1.FileKeySelector{VolumeName: "shared", Path: "env", Key: "COLOUR"},
	}}}
	w.create(p)
	out := w.output("from-a-file")
	require.Contains(t, out, "C=blue and green\n")
	require.Contains(t, out, "HOSTNAME=any.name\n")
	w.delete("from-a-file", 0)
	w.wait("from-a-file", "gone", gone)
}

// ofThePod: a container without limits has the pod's.
func ofThePod(t *testing.T, w *world) {
	p := once("of-the-pod", "env")
	p.Spec.Resources = &corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("48Mi")}}
	p.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "M", ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "limits.memory"}}}}
	w.create(p)
	require.Contains(t, w.output("of-the-pod"), "M=50331648\n")
	p = w.wait("of-the-pod", "finished", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodSucceeded })
	on, err := w.cli.ContainerInspect(t.Context(), idOf(p), client.ContainerInspectOptions{})
	require.NoError(t, err)
	require.EqualValues(t, 48<<20, on.Container.HostConfig.Memory)
	w.delete("of-the-pod", 0)
	w.wait("of-the-pod", "gone", gone)
}
