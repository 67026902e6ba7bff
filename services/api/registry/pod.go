package registry

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"

	"karve.dev/karve/services/api/registry/podspec"
)

func pod() *Kind {
	life := generations(func(o *corev1.Pod) (*corev1.PodSpec, *corev1.PodStatus) { return &o.Spec, &o.Status })
	return define(Spec[*corev1.Pod]{
		GVK: core("Pod"), Resource: "pods", Singular: "pod", ShortNames: []string{"po"}, Categories: []string{"all"}, Namespaced: true,
		New:            func() *corev1.Pod { return &corev1.Pod{} },
		NewList:        func() runtime.Object { return &corev1.PodList{} },
		Life:           life,
		Default:        defaultPod,
		PrepareCreate:  func(p *corev1.Pod) { life.create(p); startPod(p) },
		PrepareStatus:  preparePodStatus,
		Validate:       validatePod,
		ValidateCreate: validateNewPod,
		ValidateUpdate: validatePodUpdate,
		ValidateStatus: validatePodStatus,
		Warnings:       podWarnings,
		Columns:        columns("Name|Ready|Status|Restarts|Age|+IP|+Node|+Nominated Node|+Readiness Gates"),
		Cells:          podCells,
		Fields:         podFields,
		GracePeriod:    podGracePeriod,
		Subresources:   podSubresources(life),
	})
}

func podSubresources(life life[*corev1.Pod]) []Subresource {
	return []Subresource{
		{Name: "attach", Kind: core("PodAttachOptions"), Verbs: []string{"create", "get"}},
		{Name: "binding", Kind: core("Binding"), Verbs: []string{"create"}},
		part("ephemeralcontainers", prepareEphemeral, validateEphemeral),
		{Name: "eviction", Kind: gvk("policy", "v1", "Eviction"), Verbs: []string{"create"}},
		{Name: "exec", Kind: core("PodExecOptions"), Verbs: []string{"create", "get"}},
		{Name: "log", Verbs: []string{"get"}},
		{Name: "portforward", Kind: core("PodPortForwardOptions"), Verbs: []string{"create", "get"}},
		{Name: "proxy", Kind: core("PodProxyOptions"), Verbs: proxyVerbs},
		part("resize", life.update, validateResize),
	}
}

func defaultPod(p *corev1.Pod) {
	podspec.DefaultPod(&p.Spec)
	defaultPodIPs(&p.Status)
}

// defaultPodIPs keeps the single address and the list of addresses in step: the list is the newer name.
func defaultPodIPs(s *corev1.PodStatus) {
	switch {
	case s.PodIP != "" && len(s.PodIPs) == 0:
		s.PodIPs = []corev1.PodIP{{IP: s.PodIP}}
	case s.PodIP == "" && len(s.PodIPs) > 0:
		s.PodIP = s.PodIPs[0].IP
	}
	switch {
	case s.HostIP != "" && len(s.HostIPs) == 0:
		s.HostIPs = []corev1.HostIP{{IP: s.HostIP}}
	case s.HostIP == "" && len(s.HostIPs) > 0:
		s.HostIP = s.HostIPs[0].IP
	}
}

// startPod gives a new pod the status it begins with.
func startPod(p *corev1.Pod) {
	p.Status = corev1.PodStatus{Phase: corev1.PodPending, QOSClass: podspec.QOS(&p.Spec)}
	podspec.MergeLabelKeys(&p.Spec, p.Labels)
	if len(p.Spec.SchedulingGates) > 0 {
		p.Status.Conditions = []corev1.PodCondition{{
			Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonSchedulingGated,
			Message: "Scheduling is blocked due to non-empty scheduling gates",
		}}
	}
}

// preparePodStatus lets a status be written, and nothing of the pod that decides about its life.
func preparePodStatus(p, old *corev1.Pod) {
	p.Spec = old.Spec
	p.Generation = old.Generation
	p.OwnerReferences = old.OwnerReferences
	p.DeletionTimestamp, p.DeletionGracePeriodSeconds = old.DeletionTimestamp, old.DeletionGracePeriodSeconds
	if p.Status.QOSClass == "" {
		p.Status.QOSClass = old.Status.QOSClass
	}
	defaultPodIPs(&p.Status)
}

func podFields(p *corev1.Pod) fields.Set {
	return fields.Set{
		"spec.nodeName":            p.Spec.NodeName,
		"spec.restartPolicy":       string(p.Spec.RestartPolicy),
		"spec.schedulerName":       p.Spec.SchedulerName,
		"spec.serviceAccountName":  p.Spec.ServiceAccountName,
		"spec.hostNetwork":         strconv.FormatBool(p.Spec.HostNetwork),
		"status.phase":             string(p.Status.Phase),
		"status.podIP":             p.Status.PodIP,
		"status.nominatedNodeName": p.Status.NominatedNodeName,
	}
}

// podGracePeriod is zero where nothing runs that could end gracefully.
func podGracePeriod(p *corev1.Pod, asked *int64) int64 {
	if p.Spec.NodeName == "" || podDone(p.Status.Phase) {
		return 0
	}
	period := deref(p.Spec.TerminationGracePeriodSeconds)
	if asked != nil {
		period = *asked
	}
	if period < 0 {
		return 1
	}
	return period
}

func podDone(phase corev1.PodPhase) bool {
	return phase == corev1.PodSucceeded || phase == corev1.PodFailed
}
