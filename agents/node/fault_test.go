package node_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node/runtime"
)

// TestAgentDiesAtAnyMoment cuts the agent off again and again while pods come and go. In the end exactly what is
// wanted must run: each pod once, with one sandbox and an address of its own.
func TestAgentDiesAtAnyMoment(t *testing.T) {
	w := newWorld(t, 8)
	const pods, rounds = 8, 6
	wanted := map[string]bool{}
	for round := range rounds {
		for i := range pods {
			name := fmt.Sprintf("p%d-%d", round, i)
			w.create(pod(name, corev1.Container{}))
			wanted[name] = true
		}
		for name := range wanted {
			if len(wanted) > pods {
				w.delete(name, 1)
				delete(wanted, name)
			}
		}
		time.Sleep(rand.N(700 * time.Millisecond)) // any moment will do
		w.stop()
		w.start()
	}
	for name := range wanted {
		w.wait(name, "running", running)
	}
	why := ""
	require.Eventually(t, func() bool {
		why = w.unsettled(wanted)
		return why == ""
	}, time.Minute, 100*time.Millisecond, "%s", &lazy{&why})
	w.answersAtItsOwnAddress(wanted)
}

func lastLine(answer string) string {
	for i := len(answer) - 1; i >= 0; i-- {
		if answer[i] == '\n' {
			return answer[i+1:]
		}
	}
	return answer
}

// lazy prints what a string holds when the test fails.
type lazy struct{ s *string }

func (l *lazy) String() string { return *l.s }

// unsettled tells what the engine runs that is not wanted, or the other way round; empty when all is well.
func (w *world) unsettled(wanted map[string]bool) string {
	all, err := w.rt.List(context.Background(), runtime.Owner{Cluster: w.cluster, Node: nodeName})
	require.NoError(w.t, err)
	sandboxes, containers := map[string]int{}, map[string]int{}
	for _, c := range all {
		switch {
		case !wanted[c.Pod]:
			return fmt.Sprintf("%s of pod %s is left: %+v", c.Container, c.Pod, c)
		case c.IsSandbox():
			sandboxes[c.Pod]++
		case c.State == runtime.Running:
			containers[c.Pod]++
		}
	}
	for name := range wanted {
		if sandboxes[name] != 1 || containers[name] != 1 {
			return fmt.Sprintf("pod %s has %d sandboxes and %d containers: %+v", name, sandboxes[name], containers[name], all)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.pods) != len(wanted) {
		return fmt.Sprintf("%d pods are in the API", len(w.pods))
	}
	return ""
}
