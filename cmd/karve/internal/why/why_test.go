package why

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

var noon = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)

func ago(d time.Duration) metav1.Time { return metav1.NewTime(noon.Add(-d)) }

// pod is one that runs and is ready on n1, with a container "app" of image my-app:v2; changes make it otherwise.
func pod(changes ...func(*corev1.Pod)) corev1.Pod {
	started := true
	p := corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "web"},
		Spec:       corev1.PodSpec{NodeName: "n1", SchedulerName: corev1.DefaultSchedulerName, Containers: []corev1.Container{{Name: "app", Image: "my-app:v2"}}},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, PodIP: "10.0.0.1",
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: ago(time.Minute)}},
			ContainerStatuses: []corev1.ContainerStatus{{
				Name: "app", Ready: true, Started: &started, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: ago(time.Minute)}},
			}},
		},
	}
	for _, change := range changes {
		change(&p)
	}
	return p
}

// waits has the container wait.
func waits(reason, message string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		unreadyPod(p)
		s := &p.Status.ContainerStatuses[0]
		s.Ready, s.Started, s.State = false, nil, corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
	}
}

// crashed has it wait after it ended.
func crashed(t corev1.ContainerStateTerminated) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		waits("CrashLoopBackOff", "back-off 40s restarting failed container=app pod=web_shop(web)")(p)
		t.FinishedAt = ago(10 * time.Second)
		p.Status.ContainerStatuses[0].RestartCount = 3
		p.Status.ContainerStatuses[0].LastTerminationState.Terminated = &t
	}
}

func hooked(p *corev1.Pod) {
	p.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PostStart: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"false"}}}}
}

func unreadyPod(p *corev1.Pod) {
	p.Status.Conditions[0].Status = corev1.ConditionFalse
	p.Status.ContainerStatuses[0].Ready = false
}

func image(name string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.Containers[0].Image = name }
}

func unscheduledPod(p *corev1.Pod) {
	p.Spec.NodeName, p.Status = "", corev1.PodStatus{Phase: corev1.PodPending}
}

func event(of, reason, message string) corev1.Event {
	return corev1.Event{InvolvedObject: corev1.ObjectReference{UID: types.UID(of)}, Type: corev1.EventTypeWarning, Reason: reason, Message: message, Count: 4, LastTimestamp: ago(5 * time.Second)}
}

func world(change func(*World), pods ...corev1.Pod) *World {
	w := &World{
		Now: noon, Pods: pods,
		Nodes: []corev1.Node{{
			ObjectMeta: metav1.ObjectMeta{Name: "n1"},
			Status: corev1.NodeStatus{
				Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
				Images:     []corev1.ContainerImage{{Names: []string{"my-app:latest"}}, {Names: []string{"my-app:v2"}}, {Names: []string{"redis:7", "redis@sha256:1"}}},
			},
		}},
	}
	if change != nil {
		change(w)
	}
	return w
}

// told is everything that a finding says.
func told(f Finding) string {
	return strings.Join(append(append([]string{f.Cause}, f.Because...), f.Do...), "\n")
}

func TestPods(t *testing.T) {
	for name, c := range map[string]struct {
		pod    corev1.Pod
		world  func(*World)
		worst  Severity
		says   []string
		hasLog bool
	}{
		"well": {pod: pod(), says: []string{"nothing is wrong: it runs on n1, ready for 60s"}},
		"image, typing": {
			pod: pod(image("my-ap:v2"), waits("ImagePullBackOff", `Back-off pulling image "my-ap:v2": ErrImagePull: pull access denied for my-ap`)), worst: Broken,
			says: []string{"image my-ap:v2 is not on the node's engine", "no such image, or wants a login", "pull access denied for my-ap", "did you mean my-app:v2 or my-app:latest?", "kubectl -n shop set image pod/web app=my-app:v2", "create secret docker-registry"},
		},
		"image of a volume": {
			pod: pod(waits("ImagePullBackOff", `Back-off pulling image "zebra:v1": ErrImagePull: no such host`), func(p *corev1.Pod) {
				p.Spec.Volumes = []corev1.Volume{{Name: "files", VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: "zebra:v1"}}}}
			}), worst: Broken, says: []string{"image zebra:v1 is not on the node's engine", "that of volume files", "docker build -t zebra:v1 ."},
		},
		"debug container": {
			pod: pod(func(p *corev1.Pod) {
				p.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debugger", Image: "busybx"}}}
				p.Status.EphemeralContainerStatuses = []corev1.ContainerStatus{{Name: "debugger", State: corev1.ContainerState{
					Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: `Back-off pulling image "busybx": ErrImagePull: no such host`},
				}}}
			}), worst: Note, says: []string{"debug container debugger: ImagePullBackOff: image busybx is not", "kubectl -n shop debug -it web --image="},
		},
		"image, tag": {
			pod: pod(image("my-app:v3"), waits("ErrImageNeverPull", "…")), worst: Broken,
			says: []string{"imagePullPolicy Never", "set image pod/web app=my-app:v2"},
		},
		"image, unknown": {
			pod: pod(image("zebra"), waits("ErrImagePull", "dial tcp: lookup registry: no such host")), worst: Broken,
			says: []string{"this machine is offline", "docker build -t zebra ."},
		},
		"no ConfigMap": {
			pod: pod(waits("CreateContainerConfigError", `configmap "app-confg" not found`)), world: withConfig, worst: Broken,
			says: []string{`there is no ConfigMap "app-confg" in namespace "shop"`, "there is app-config", "kubectl -n shop create configmap app-confg"},
		},
		"no key": {
			pod:   pod(waits("CreateContainerConfigError", `couldn't find key loglevel in ConfigMap shop/app-config`)),
			world: withConfig, worst: Broken,
			says: []string{`ConfigMap "app-config" has no key "loglevel"`, "it has log_level", "kubectl -n shop edit configmap app-config"},
		},
		"volume's object": {
			pod: pod(waits("ContainerCreating", `MountVolume.SetUp failed for volume "c" : secret "db" not found`)), worst: Broken,
			says: []string{`volume c: there is no Secret "db"`, "create secret generic db"},
		},
		"crash": {
			pod: pod(crashed(corev1.ContainerStateTerminated{ExitCode: 3})), worst: Broken,
			says: []string{"CrashLoopBackOff: it ended with exit code 3", "restarted 3 times, the next time in 30s", "kubectl -n shop logs web -c app --previous"}, hasLog: true,
		},
		"crash, signal": {pod: pod(crashed(corev1.ContainerStateTerminated{ExitCode: 139})), worst: Broken, says: []string{"SIGSEGV"}, hasLog: true},
		"no such program": {
			pod: pod(crashed(corev1.ContainerStateTerminated{ExitCode: 128, Message: `runc create failed: unable to start container process: exec: "/x": stat /x: no such file or directory: unknown`})), worst: Broken,
			says: []string{`could not be started: exec: "/x": stat /x: no such file or directory`, "correct command and args"},
		},
		"memory": {
			pod: pod(limited, crashed(corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled"})), worst: Broken,
			says: []string{"more memory than its limit 20Mi (OOMKilled)", "such as 40Mi"}, hasLog: true,
		},
		"liveness": {
			pod:   pod(crashed(corev1.ContainerStateTerminated{ExitCode: 0})),
			world: events(event("web", "Killing", "Container app failed liveness probe, will be restarted"), event("web", "Unhealthy", "Liveness probe failed: timeout")), worst: Broken,
			says: []string{"its liveness probe fails", "Liveness probe failed: timeout", "livenessProbe"}, hasLog: true,
		},
		"another's liveness": {
			pod:   pod(crashed(corev1.ContainerStateTerminated{ExitCode: 3})),
			world: events(event("web", "Killing", "Container myapp failed liveness probe, will be restarted")), worst: Broken,
			says: []string{"it ended with exit code 3", "--previous"}, hasLog: true,
		},
		"hook": {
			pod:   pod(crashed(corev1.ContainerStateTerminated{ExitCode: 137, Reason: "Error"}), hooked),
			world: events(event("web", "FailedPostStartHook", "PostStartHook failed: command exited with 9: oh")), worst: Broken,
			says: []string{"its postStart hook fails", "exited with 9: oh", "lifecycle.postStart"}, hasLog: true,
		},
		"readiness": {
			pod:   pod(unreadyPod, probed),
			world: events(event("web", "Unhealthy", "Readiness probe failed: dial tcp 10.0.0.1:8081: connect: connection refused")), worst: Unready,
			says: []string{"readiness probe (GET /ok on port 8081) does not succeed", "5s ago, 4 times", "nothing listens on port 8081", "declares 8080 (web)"},
		},
		"init": {
			pod: pod(unreadyPod, initialising), worst: Stuck,
			says: []string{"init container wait still runs; 0 of 1 init containers have ended", "logs web -c wait -f"}, hasLog: true,
		},
		"no claim": {pod: pod(unscheduledPod, claims("data")), worst: Stuck, says: []string{`there is no PersistentVolumeClaim "data"`}},
		"no class": {
			pod: pod(unscheduledPod, claims("data")), world: classless, worst: Stuck,
			says: []string{`its claim data: there is no StorageClass "fast"`, "standard is the default"},
		},
		"no node": {
			pod: pod(unscheduledPod, refusedBy("0/1 nodes are available: 1 Insufficient cpu.")), worst: Stuck,
			says: []string{"1 Insufficient cpu", "lower resources.requests"},
		},
		"room is made": {
			pod: pod(unscheduledPod, refusedBy("0/1 nodes are available: 1 Insufficient cpu."), func(p *corev1.Pod) { p.Status.NominatedNodeName = "n1" }), worst: Stuck,
			says: []string{"room is being made for it on node n1"},
		},
		"a taint": {
			pod: pod(unscheduledPod, refusedBy("0/1 nodes are available: 1 node(s) had untolerated taint(s). preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.")), worst: Stuck,
			world: func(w *World) {
				w.Nodes[0].Spec.Taints = []corev1.Taint{{Key: "gpu", Effect: corev1.TaintEffectNoSchedule}}
			},
			says: []string{"untolerated taint(s).", "kubectl taint node n1 gpu:NoSchedule-"},
		},
		"other scheduler": {
			pod: pod(unscheduledPod, func(p *corev1.Pod) { p.Spec.SchedulerName = "mine" }), worst: Stuck,
			says: []string{`a scheduler called "mine"`},
		},
		"gates": {pod: pod(func(p *corev1.Pod) {
			p.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "example.org/lb"}}
		}), worst: Unready, says: []string{"readiness gates are not: example.org/lb"}},
		"finalizers": {
			pod: pod(deleted(time.Minute, 1), over, func(p *corev1.Pod) { p.Finalizers = []string{"example.org/hold"} }), worst: Stuck,
			says: []string{"kept by finalizers: example.org/hold", `patch pod web -p '{"metadata":{"finalizers":null}}'`},
		},
		"stops slowly": {
			pod: pod(deleted(10*time.Second, 600)), worst: Note,
			says: []string{"have 9m50s of their 600s of grace left", "delete pod web --grace-period=1"},
		},
		"deleted, no node": {
			pod: pod(deleted(time.Hour, 30)), world: silent, worst: Stuck,
			says: []string{"its node n1 is away", "--force --grace-period=0"},
		},
		"silent node": {
			pod: pod(), world: silent, worst: Down,
			says: []string{"its node n1 is not ready: Kubelet stopped posting node status.", "karve why node/n1"},
		},
		"evicted": {pod: pod(func(p *corev1.Pod) {
			p.Status = corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted", Message: "The node was low on resource: memory."}
		}), worst: Broken, says: []string{"Evicted from node n1", "low on resource: memory", "kubectl -n shop delete pod web"}},
		"ended badly": {pod: pod(over, func(p *corev1.Pod) {
			p.Status.Phase = corev1.PodFailed
			p.Status.ContainerStatuses[0].State.Terminated.ExitCode = 127
		}), worst: Broken, says: []string{"the shell did not find the program"}, hasLog: true},
		"sandbox": {
			pod:   pod(waits("ContainerCreating", ""), func(p *corev1.Pod) { p.Spec.RuntimeClassName = new("gvisor") }),
			world: events(event("web", "FailedCreatePodSandBox", `Failed to create pod sandbox: no runtime for "runsc" is configured: the engine has runc`)), worst: Broken,
			says: []string{`cannot be made: no runtime for "runsc"`, "add that runtime to the engine of node n1", "handler of RuntimeClass gvisor"},
		},
		"was restarted": {pod: pod(func(p *corev1.Pod) {
			p.Status.ContainerStatuses[0].RestartCount = 2
			p.Status.ContainerStatuses[0].LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ExitCode: 1, FinishedAt: ago(time.Minute)}
		}), says: []string{"it is ready; container app was restarted 60s ago (2 times in all): it ended with exit code 1"}},
		"sidecar not ready": {
			pod: pod(unreadyPod, sidecar), world: events(event("web", "Unhealthy", "Startup probe failed: no")), worst: Unready,
			says: []string{"init container proxy: runs, and its startup probe (run true) does not succeed"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			found, err := world(c.world, c.pod).About(Subject{"pod", "shop", "web"})
			require.NoError(t, err)
			require.Equal(t, c.worst, found[0].Severity, told(found[0]))
			for _, s := range c.says {
				require.Contains(t, told(found[0]), s)
			}
			require.Equal(t, c.hasLog, found[0].Log != nil)
		})
	}
}
