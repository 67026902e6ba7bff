package why

import (
	"fmt"
	"regexp"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func aboutDeployment(w *World, s Subject) ([]Finding, bool) {
	d := find(w.Deployments, s)
	if d == nil {
		return nil, false
	}
	var sets []types.UID
	for i := range w.ReplicaSets {
		if metav1.IsControlledBy(&w.ReplicaSets[i], d) {
			sets = append(sets, w.ReplicaSets[i].UID)
		}
	}
	var out []Finding
	late := ""
	for _, c := range d.Status.Conditions {
		switch {
		case c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue:
			out = append(out, uncreated(d.Namespace, c.Message))
		case c.Type == appsv1.DeploymentProgressing && c.Reason == "ProgressDeadlineExceeded":
			late = fmt.Sprintf("its rollout has made no progress for %ds (ProgressDeadlineExceeded)", ptr(d.Spec.ProgressDeadlineSeconds))
		}
	}
	out = append(out, w.troubles(w.podsOf(sets...))...)
	for i := range out {
		if late != "" && out[i].Severity > Note {
			out[i].Because = append(out[i].Because, late)
			if len(sets) > 1 {
				out[i].Do = append(out[i].Do, kubectl(d.Namespace, "rollout undo %s", s)+"   # if the earlier one was good")
			}
			late = ""
		}
	}
	if d.Spec.Paused {
		out = append(out, Finding{Severity: Note, Cause: "its rollout is paused: changes of its template wait", Do: []string{kubectl(d.Namespace, "rollout resume %s", s)}})
	}
	return orWell(out, d.Spec.Replicas, d.Status.ReadyReplicas, s), true
}

func aboutReplicaSet(w *World, s Subject) ([]Finding, bool) {
	rs := find(w.ReplicaSets, s)
	if rs == nil {
		return nil, false
	}
	var out []Finding
	for _, c := range rs.Status.Conditions {
		if c.Type == appsv1.ReplicaSetReplicaFailure && c.Status == corev1.ConditionTrue {
			out = append(out, uncreated(rs.Namespace, c.Message))
		}
	}
	return orWell(append(out, w.troubles(w.podsOf(rs.UID))...), rs.Spec.Replicas, rs.Status.ReadyReplicas, s), true
}

// loose names the objects of a list that nothing has made.
func loose[T any, P interface {
	*T
	metav1.Object
}](kind string, list []T) []Subject {
	var out []Subject
	for i := range list {
		if o := P(&list[i]); metav1.GetControllerOf(o) == nil {
			out = append(out, Subject{kind, o.GetNamespace(), o.GetName()})
		}
	}
	return out
}

func aboutStatefulSet(w *World, s Subject) ([]Finding, bool) {
	set := find(w.StatefulSets, s)
	if set == nil {
		return nil, false
	}
	out := append(w.refused(set.Namespace, set.UID), w.troubles(w.podsOf(set.UID))...)
	missing := ptr(set.Spec.Replicas) - set.Status.Replicas
	if set.Spec.PodManagementPolicy != appsv1.ParallelPodManagement && missing > 0 && len(out) > 0 {
		out[0].Because = append(out[0].Because, fmt.Sprintf("%d more pods are made once this one is ready, one after the other", missing))
	}
	return orWell(out, set.Spec.Replicas, set.Status.ReadyReplicas, s), true
}

func aboutDaemonSet(w *World, s Subject) ([]Finding, bool) {
	ds := find(w.DaemonSets, s)
	if ds == nil {
		return nil, false
	}
	out := append(w.refused(ds.Namespace, ds.UID), w.troubles(w.podsOf(ds.UID))...)
	if want := ds.Status.DesiredNumberScheduled; want > 0 || len(out) > 0 {
		return orWell(out, &want, ds.Status.NumberReady, s), true
	}
	f := Finding{Severity: Note, Cause: "no node is to run it"}
	if t := ds.Spec.Template.Spec; len(t.NodeSelector) > 0 || t.Affinity != nil {
		f.Severity, f.Because = Stuck, []string{"its nodeSelector or affinity matches none of the nodes: " + metav1.FormatLabelSelector(&metav1.LabelSelector{MatchLabels: t.NodeSelector})}
		f.Do = []string{"kubectl get nodes --show-labels"}
	} else {
		f.Because = []string{"perhaps the nodes have taints that it does not tolerate"}
		f.Do = []string{"kubectl describe nodes"}
	}
	return []Finding{f}, true
}

func aboutJob(w *World, s Subject) ([]Finding, bool) {
	j := find(w.Jobs, s)
	if j == nil {
		return nil, false
	}
	return w.job(j), true
}

func (w *World) job(j *batchv1.Job) []Finding {
	pods := w.podsOf(j.UID)
	for _, c := range j.Status.Conditions {
		if c.Status != corev1.ConditionTrue {
			continue
		}
		switch c.Type {
		case batchv1.JobComplete:
			return []Finding{{Cause: "nothing is wrong: it is complete"}}
		case batchv1.JobSuspended:
			return []Finding{{Severity: Note, Cause: "it is suspended", Do: []string{kubectl(j.Namespace, `patch job %s -p '{"spec":{"suspend":false}}'`, j.Name)}}}
		case batchv1.JobFailed:
			f := Finding{Severity: Broken, Cause: fmt.Sprintf("it has failed: %s (%s)", c.Message, c.Reason), Do: []string{"a Job that has failed stays so; to try again: " + again(j)}}
			if found := w.group(pods); len(found) > 0 {
				f.Because = append([]string{found[0].Cause}, found[0].Because...)
				f.Log, f.Do = found[0].Log, append(found[0].Do, f.Do...)
			}
			return []Finding{f}
		}
	}
	out := append(w.refused(j.Namespace, j.UID), w.troubles(pods)...)
	if len(out) == 0 {
		out = []Finding{{Cause: fmt.Sprintf("nothing is wrong: %d of its pods run, %d have succeeded", j.Status.Active, j.Status.Succeeded)}}
	}
	return out
}

// again is the command that makes a job anew.
func again(j *batchv1.Job) string {
	if c := metav1.GetControllerOf(j); c != nil && c.Kind == "CronJob" {
		return kubectl(j.Namespace, "create job %s-again --from=cronjob/%s", c.Name, c.Name)
	}
	return kubectl(j.Namespace, "replace --force -f FILE")
}

func aboutCronJob(w *World, s Subject) ([]Finding, bool) {
	cj := find(w.CronJobs, s)
	if cj == nil {
		return nil, false
	}
	if ptr(cj.Spec.Suspend) {
		return []Finding{{Severity: Note, Cause: "it is suspended", Do: []string{kubectl(cj.Namespace, `patch cronjob %s -p '{"spec":{"suspend":false}}'`, cj.Name)}}}, true
	}
	var newest *batchv1.Job
	for i := range w.Jobs {
		if j := &w.Jobs[i]; metav1.IsControlledBy(j, cj) && (newest == nil || newest.CreationTimestamp.Before(&j.CreationTimestamp)) {
			newest = j
		}
	}
	out := w.refused(cj.Namespace, cj.UID, "UnknownTimeZone", "UnparseableSchedule", "MissSchedule", "TooManyMissedTimes")
	if newest == nil {
		return append(out, Finding{Severity: Note, Cause: fmt.Sprintf("nothing is wrong: its schedule %q has not come round yet", cj.Spec.Schedule)}), true
	}
	for _, f := range w.job(newest) {
		f.Cause = "its newest job " + newest.Name + ": " + strings.TrimPrefix(f.Cause, "nothing is wrong: ")
		out = append(out, f)
	}
	return out, true
}

// troubles are the findings about a workload's pods; pods that are being deleted are no trouble of it.
func (w *World) troubles(pods []*corev1.Pod) []Finding {
	var live []*corev1.Pod
	for _, p := range pods {
		if p.DeletionTimestamp == nil {
			live = append(live, p)
		}
	}
	return w.group(live)
}

// refused is about pods (or what else the owner makes) that the API has refused, as the owner's newest event tells.
func (w *World) refused(namespace string, owner types.UID, others ...string) []Finding {
	e := w.event(owner, append(others, "FailedCreate", "SuccessfulCreate")...)
	if e == nil || e.Type != corev1.EventTypeWarning {
		return nil
	}
	return []Finding{uncreated(namespace, e.Message)}
}

var missingAccount = regexp.MustCompile(`serviceaccount "([^"]+)" not found`)

// uncreated is about pods that the API refuses to store.
func uncreated(namespace, message string) Finding {
	_, cut, ok := strings.Cut(message, "is forbidden: ")
	if !ok {
		cut = message
	}
	f := Finding{Severity: Broken, Cause: "its pods are refused: " + cut}
	switch {
	case strings.Contains(message, "exceeded quota"):
		f.Do = []string{kubectl(namespace, "describe quota"), "free some of it, or raise the quota's spec.hard"}
	case strings.Contains(message, "violates PodSecurity"):
		f.Do = []string{"change the pods' securityContext as it says, or allow more in the namespace:"}
		f.Do = append(f.Do, fmt.Sprintf("kubectl label --overwrite namespace %s pod-security.kubernetes.io/enforce=baseline", namespace))
	case missingAccount.MatchString(message):
		f.Do = []string{kubectl(namespace, "create serviceaccount %s", missingAccount.FindStringSubmatch(message)[1])}
	case strings.Contains(message, "per Container is") || strings.Contains(message, "per Pod is"):
		f.Do = []string{kubectl(namespace, "describe limitrange")}
	}
	return f
}

// orWell adds how a workload without troubles does.
func orWell(found []Finding, want *int32, ready int32, s Subject) []Finding {
	for _, f := range found {
		if f.Severity > Note {
			return found
		}
	}
	n := int32(1)
	if want != nil {
		n = *want
	}
	switch {
	case n == 0:
		return append(found, Finding{Severity: Note, Cause: "it is scaled to 0", Do: []string{kubectl(s.Namespace, "scale %s --replicas=1", s)}})
	case ready < n && len(found) == 0:
		return append(found, Finding{Severity: Unready, Cause: fmt.Sprintf("%d of %d pods are ready; the others are being made", ready, n)})
	case len(found) == 0:
		return append(found, Finding{Cause: fmt.Sprintf("nothing is wrong: %d of %d pods are ready", ready, n)})
	}
	return found
}
