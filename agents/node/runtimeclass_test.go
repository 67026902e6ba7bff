package node_test

import (
	"os/exec"
	"testing"

	"github.com/moby/moby/client"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	runtimev1 "k8s.io/api/node/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/agents/node/runtime"
)

// TestRuntimeClasses: a pod's sandbox and its containers run with the runtime of the engine that its RuntimeClass names, and a
// pod whose runtime the engine does not have waits and says which ones there are.
func TestRuntimeClasses(t *testing.T) {
	runc, err := exec.LookPath("runc")
	if err != nil {
		t.Skip("needs runc")
	}
	e := newEngine(t, "--add-runtime", "other="+runc)
	w := newWorldOn(t, 26, e.host)
	w.until("the node tells its runtimes", func() bool {
		if w.node == nil {
			return false
		}
		var names []string
		for _, h := range w.node.Status.RuntimeHandlers {
			names = append(names, h.Name)
		}
		return len(names) > 2 && names[0] == "" && names[len(names)-2] == "other" && names[len(names)-1] == "runc"
	})

	w.create(of("early", "late"))
	w.waitEvent(`early  Warning FailedCreatePodSandBox Failed to create pod sandbox: runtimeclass.node.k8s.io "late" not found`)
	w.setClass("late", "other")
	p := w.wait("early", "running", running)
	all, err := w.rt.List(t.Context(), runtime.Owner{Cluster: w.cluster, Node: nodeName})
	require.NoError(t, err)
	require.Len(t, all, 2)
	for _, c := range all {
		on, err := w.cli.ContainerInspect(t.Context(), c.ID, client.ContainerInspectOptions{})
		require.NoError(t, err)
		require.Equal(t, "other", on.Container.HostConfig.Runtime, c.Container)
	}
	require.Contains(t, ask(t, p.Status.PodIP), "early")

	w.setClass("vm", "kata")
	w.create(of("isolated", "vm"))
	w.waitEvent(`isolated  Warning FailedCreatePodSandBox Failed to create pod sandbox: no runtime for "kata" is configured: the engine has io.`)
	waits := w.wait("isolated", "waiting", func(p *corev1.Pod) bool {
		s := p.Status.ContainerStatuses
		return len(s) == 1 && s[0].State.Waiting != nil && s[0].State.Waiting.Reason == "ContainerCreating"
	})
	require.Equal(t, corev1.PodPending, waits.Status.Phase)
	w.delete("isolated", 0)
	w.wait("isolated", "gone", gone)
}

func of(name, class string) *corev1.Pod {
	p := pod(name, corev1.Container{})
	p.Spec.RuntimeClassName = &class
	return p
}

func (p *plane) setClass(name, handler string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.set("RuntimeClass", &runtimev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Handler: handler})
}
