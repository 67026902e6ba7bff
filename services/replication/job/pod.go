package job

import (
	"fmt"
	"slices"
	"strconv"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/services/replication/pods"
)

const (
	indexVariable = "JOB_COMPLETION_INDEX"
	// maxBase leaves room for the random end of a pod's name.
	maxBase = 58
)

// newPod returns a pod that the job does not have yet.
func newPod(job *batchv1.Job, b birth) (*corev1.Pod, error) {
	p, err := pods.FromTemplate(job, &job.Spec.Template)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(p.Finalizers, batchv1.JobTrackingFinalizer) {
		p.Finalizers = append(p.Finalizers, batchv1.JobTrackingFinalizer)
	}
	if b.index == noIndex {
		return p, nil
	}
	number := strconv.Itoa(b.index)
	p.Annotations, p.Labels = setting(p.Annotations), setting(p.Labels)
	p.Annotations[batchv1.JobCompletionIndexAnnotation], p.Labels[batchv1.JobCompletionIndexAnnotation] = number, number
	p.Spec.Hostname = fmt.Sprintf("%s-%d", job.Name, b.index)
	base := job.Name
	if room := maxBase - len(number) - 2; len(base) > room {
		base = base[:room]
	}
	p.GenerateName = base + "-" + number + "-"
	for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			tellIndex(&list[i])
		}
	}
	if perIndex(job) {
		inherit(job, p, b.replaces)
	}
	return p, nil
}

func setting(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

func tellIndex(c *corev1.Container) {
	if slices.ContainsFunc(c.Env, func(e corev1.EnvVar) bool { return e.Name == indexVariable }) {
		return
	}
	c.Env = append(c.Env, corev1.EnvVar{Name: indexVariable, ValueFrom: &corev1.EnvVarSource{
		FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.labels['" + batchv1.JobCompletionIndexAnnotation + "']"},
	}})
}

// inherit hands the index's failures on: they stand in its newest pod only.
func inherit(job *batchv1.Job, p, last *corev1.Pod) {
	failed, ignored := 0, 0
	if last != nil {
		failed, ignored = failuresOf(last), ignoredOf(last)
		if judge(job, last).counts() {
			failed++
		} else {
			ignored++
		}
	}
	p.Annotations[batchv1.JobIndexFailureCountAnnotation] = strconv.Itoa(failed)
	if ignored > 0 {
		p.Annotations[batchv1.JobIndexIgnoredFailureCountAnnotation] = strconv.Itoa(ignored)
	}
}

// failuresOf is how many pods of the index have failed before this one.
func failuresOf(p *corev1.Pod) int {
	n, _ := strconv.Atoi(p.Annotations[batchv1.JobIndexFailureCountAnnotation])
	return n
}

// ignoredOf is failuresOf for failures that do not count.
func ignoredOf(p *corev1.Pod) int {
	n, _ := strconv.Atoi(p.Annotations[batchv1.JobIndexIgnoredFailureCountAnnotation])
	return n
}
