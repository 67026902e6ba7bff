package daemonset

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

var now = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func set(surge, unavailable int32) *appsv1.DaemonSet {
	s, u := intstr.FromInt32(surge), intstr.FromInt32(unavailable)
	return &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "agent", UID: "ds", Generation: 2},
		Spec: appsv1.DaemonSetSpec{UpdateStrategy: appsv1.DaemonSetUpdateStrategy{
			Type: appsv1.RollingUpdateDaemonSetStrategyType, RollingUpdate: &appsv1.RollingUpdateDaemonSet{MaxSurge: &s, MaxUnavailable: &u},
		}},
	}
}

func nodes(n int, taints ...corev1.Taint) (out []*corev1.Node) {
	for i := range n {
		out = append(out, &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("n", i), Labels: map[string]string{"disk": "ssd"}}, Spec: corev1.NodeSpec{Taints: taints},
		})
	}
	return out
}

func pod(node, hash string, change func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "agent-" + node + "-" + hash, Labels: map[string]string{hashLabel: hash}}}
	pinTo(&p.Spec, node)
	p.Status.Phase = corev1.PodRunning
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	if change != nil {
		change(p)
	}
	return p
}

func unready(p *corev1.Pod) { p.Status.Conditions = nil }

func names(pods []*corev1.Pod) (out []string) {
	for _, p := range pods {
		out = append(out, p.Name)
	}
	return out
}

func TestEveryNodeThatIsWantedGetsOnePod(t *testing.T) {
	ds := set(0, 1)
	all := nodes(3)
	p := makePlan(observed{set: ds, nodes: all, pods: []*corev1.Pod{pod("n1", "h", nil), pod("gone", "h", nil)}, hash: "h", now: now})
	require.Equal(t, []string{"n0", "n2"}, p.create)
	require.Equal(t, []string{"agent-gone-h"}, names(p.surplus))
	require.EqualValues(t, 3, p.status.DesiredNumberScheduled)
	require.EqualValues(t, 1, p.status.CurrentNumberScheduled)
	require.EqualValues(t, 1, p.status.NumberMisscheduled)
	require.EqualValues(t, 2, p.status.NumberUnavailable)
	require.EqualValues(t, 2, p.status.ObservedGeneration)

	ds.Spec.Template.Spec.NodeSelector = map[string]string{"disk": "hdd"}
	p = makePlan(observed{set: ds, nodes: all, pods: []*corev1.Pod{pod("n1", "h", nil)}, hash: "h", now: now})
	require.Empty(t, p.create)
	require.Equal(t, []string{"agent-n1-h"}, names(p.surplus))
}

func TestTaintsThatStopOthersDoNotStopDaemons(t *testing.T) {
	taint := func(key string, effect corev1.TaintEffect) corev1.Taint {
		return corev1.Taint{Key: key, Effect: effect}
	}
	for _, c := range []struct {
		taint     corev1.Taint
		run, stay bool
	}{
		{taint(corev1.TaintNodeUnschedulable, corev1.TaintEffectNoSchedule), true, true},
		{taint(corev1.TaintNodeNotReady, corev1.TaintEffectNoExecute), true, true},
		{taint("mine", corev1.TaintEffectPreferNoSchedule), true, true},
		{taint("mine", corev1.TaintEffectNoSchedule), false, true},
		{taint("mine", corev1.TaintEffectNoExecute), false, false},
		{taint(corev1.TaintNodeNetworkUnavailable, corev1.TaintEffectNoSchedule), false, true},
	} {
		run, stay := wants(&corev1.PodSpec{}, nodes(1, c.taint)[0])
		require.Equal(t, []bool{c.run, c.stay}, []bool{run, stay}, "%+v", c.taint)
	}
	run, _ := wants(&corev1.PodSpec{HostNetwork: true}, nodes(1, taint(corev1.TaintNodeNetworkUnavailable, corev1.TaintEffectNoSchedule))[0])
	require.True(t, run)
}

func TestOldPodsAreReplacedAFewAtATime(t *testing.T) {
	old := []*corev1.Pod{pod("n0", "old", nil), pod("n1", "old", nil), pod("n2", "old", nil), pod("n3", "old", unready)}
	o := observed{set: set(0, 2), nodes: nodes(4), pods: old, hash: "new", now: now}
	p := makePlan(o)
	require.Equal(t, []string{"agent-n3-old", "agent-n0-old"}, names(p.surplus), "the one that does not serve, and one more")
	o.pods = []*corev1.Pod{pod("n0", "new", unready), old[1], old[2], pod("n3", "new", unready)}
	require.Empty(t, makePlan(o).surplus, "two are missing already")
	o.pods[0], o.pods[3] = pod("n0", "new", nil), pod("n3", "new", nil)
	p = makePlan(o)
	require.Equal(t, []string{"agent-n1-old", "agent-n2-old"}, names(p.surplus))
	require.EqualValues(t, 2, p.status.UpdatedNumberScheduled)
	o.set.Spec.UpdateStrategy.Type = appsv1.OnDeleteDaemonSetStrategyType
	require.Empty(t, makePlan(o).surplus)
}

func TestWithSurgeTheNewPodComesFirst(t *testing.T) {
	old := []*corev1.Pod{pod("n0", "old", nil), pod("n1", "old", nil), pod("n2", "old", unready)}
	o := observed{set: set(1, 0), nodes: nodes(3), pods: old, hash: "new", now: now}
	p := makePlan(o)
	require.Equal(t, []string{"n2", "n0"}, p.create)
	require.Empty(t, p.surplus)
	o.pods = append(old[:2:2], pod("n0", "new", unready), pod("n2", "new", nil))
	p = makePlan(o)
	require.Empty(t, p.create)
	require.Empty(t, p.surplus)
	o.pods[2] = pod("n0", "new", nil)
	p = makePlan(o)
	require.Equal(t, []string{"agent-n0-old"}, names(p.surplus))
	require.Equal(t, []string{"n1"}, p.create)
	require.EqualValues(t, 3, p.status.NumberAvailable)
}

func TestPodsThatEndedMakeRoom(t *testing.T) {
	o := observed{set: set(0, 1), nodes: nodes(2), hash: "h", now: now, pods: []*corev1.Pod{
		pod("n0", "h", func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }),
		pod("n1", "h", func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }),
	}}
	p := makePlan(o)
	require.Equal(t, []string{"agent-n0-h"}, names(p.failed))
	require.Equal(t, []string{"agent-n1-h"}, names(p.finished))
	require.Empty(t, p.create)
	o.pods = o.pods[:1]
	o.pods[0].DeletionTimestamp = &metav1.Time{Time: now}
	p = makePlan(o)
	require.Empty(t, p.failed)
	require.Equal(t, []string{"n1"}, p.create, "one that is stopping keeps its place")
}
