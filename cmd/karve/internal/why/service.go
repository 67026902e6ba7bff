package why

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"karve.dev/karve/internal/conditions"
)

func aboutService(w *World, s Subject) ([]Finding, bool) {
	svc := find(w.Services, s)
	if svc == nil {
		return nil, false
	}
	out := w.serviceEndpoints(svc)
	if svc.Spec.Type == corev1.ServiceTypeLoadBalancer && len(svc.Status.LoadBalancer.Ingress) == 0 {
		f := Finding{Severity: Note, Cause: "it asks for a load balancer, and nothing here gives one an address"}
		for _, p := range svc.Spec.Ports {
			if p.NodePort != 0 {
				f.Do = append(f.Do, fmt.Sprintf("port %d is reached at port %d of every node, and at its cluster IP", p.Port, p.NodePort))
			}
		}
		out = append(out, f)
	}
	if e := w.event(svc.UID, "FailedToProgramService"); e != nil {
		f := Finding{Severity: Unready, Cause: "it does not reach the kernel: " + e.Message}
		f.Do = []string{"karve status", kubectl(svc.Namespace, "describe svc %s", svc.Name)}
		out = append(out, f)
	}
	if len(out) == 0 {
		out = []Finding{{Cause: fmt.Sprintf("nothing is wrong: %d endpoints are ready", w.readyEndpoints(svc))}}
	}
	return out, true
}

func (w *World) readyEndpoints(svc *corev1.Service) int {
	n := 0
	for i := range w.Slices {
		if s := &w.Slices[i]; s.Namespace == svc.Namespace && s.Labels["kubernetes.io/service-name"] == svc.Name {
			for _, e := range s.Endpoints {
				if e.Conditions.Ready == nil || *e.Conditions.Ready {
					n++
				}
			}
		}
	}
	return n
}

func (w *World) serviceEndpoints(svc *corev1.Service) []Finding {
	if svc.Spec.Type == corev1.ServiceTypeExternalName {
		return []Finding{{Cause: "nothing is wrong: it is another name for " + svc.Spec.ExternalName}}
	}
	if len(svc.Spec.Selector) == 0 {
		if w.readyEndpoints(svc) > 0 {
			return nil
		}
		f := Finding{Severity: Unready, Cause: "it has no selector and nobody has made EndpointSlices for it"}
		f.Do = []string{kubectl(svc.Namespace, "set selector svc/%s KEY=VALUE", svc.Name)}
		return []Finding{f}
	}
	var pods, ready []*corev1.Pod
	for i := range w.Pods {
		p := &w.Pods[i]
		if p.Namespace != svc.Namespace || !labels.SelectorFromSet(svc.Spec.Selector).Matches(labels.Set(p.Labels)) || p.DeletionTimestamp != nil ||
			p.Status.Phase == corev1.PodSucceeded {
			continue
		}
		pods = append(pods, p)
		if conditions.PodReady(p) {
			ready = append(ready, p)
		}
	}
	if len(pods) == 0 {
		return []Finding{w.selectsNothing(svc)}
	}
	out := w.wrongPorts(svc, pods)
	if len(ready) == len(pods) || len(out) > 0 && out[0].Refused == "" {
		return out
	}
	out = append(w.group(pods), out...)
	for i := range out {
		if out[i].Pods == 0 {
			continue
		}
		out[i].Cause = fmt.Sprintf("%d of its %d pods are ready; ", len(ready), len(pods)) + out[i].Cause
		if len(ready) > 0 {
			out[i].Severity = min(out[i].Severity, Unready)
		}
	}
	return out
}

// selectsNothing finds the pods that a selector nearly matches.
func (w *World) selectsNothing(svc *corev1.Service) Finding {
	f := Finding{Severity: Unready, Cause: "its selector " + labels.FormatLabels(svc.Spec.Selector) + " matches no pod"}
	type near struct {
		pod    *corev1.Pod
		common int
	}
	var best near
	for i := range w.Pods {
		p := &w.Pods[i]
		if p.Namespace != svc.Namespace || p.DeletionTimestamp != nil {
			continue
		}
		common := 0
		for k, v := range svc.Spec.Selector {
			have, ok := p.Labels[k]
			switch {
			case ok && have == v:
				common += 100
			case ok:
				common += max(1, 50-10*distance(v, have))
			}
		}
		if common > best.common {
			best = near{p, common}
		}
	}
	if best.pod == nil {
		f.Because = []string{"no pod in the namespace has any of these labels"}
		f.Do = []string{kubectl(svc.Namespace, "get pods --show-labels")}
		return f
	}
	var has, fix []string
	for _, k := range slices.Sorted(maps.Keys(svc.Spec.Selector)) {
		switch have, ok := best.pod.Labels[k]; {
		case !ok:
			has = append(has, "no label "+k)
		case have != svc.Spec.Selector[k]:
			has, fix = append(has, k+"="+have), append(fix, k+"="+have)
		default:
			fix = append(fix, k+"="+have)
		}
	}
	f.Because = []string{fmt.Sprintf("the nearest is %s, which has %s", w.above(best.pod), strings.Join(has, ", "))}
	if len(fix) > 0 {
		f.Do = []string{kubectl(svc.Namespace, "set selector svc/%s %s", svc.Name, strings.Join(fix, ","))}
	}
	return f
}

// wrongPorts is about target ports that no container has.
func (w *World) wrongPorts(svc *corev1.Service, pods []*corev1.Pod) []Finding {
	var out []Finding
	running := ""
	for _, p := range pods {
		if conditions.PodReady(p) || !slices.ContainsFunc(p.Status.ContainerStatuses, func(s corev1.ContainerStatus) bool { return s.State.Running == nil }) {
			running = p.Status.PodIP
		}
	}
	for i, p := range svc.Spec.Ports {
		var named []corev1.ContainerPort
		for _, c := range pods[0].Spec.Containers {
			named = append(named, c.Ports...)
		}
		if f, wrong := wrongPort(p, named); wrong {
			if f.Do == nil {
				f.Do = []string{kubectl(svc.Namespace, `patch svc %s --type=json -p '[{"op":"replace","path":"/spec/ports/%d/targetPort","value":PORT}]'`, svc.Name, i)}
			}
			if p.TargetPort.Type == intstr.Int {
				if running == "" {
					continue
				}
				f.Refused = net.JoinHostPort(running, strconv.Itoa(p.TargetPort.IntValue()))
				f.Because = append([]string{"connection to " + f.Refused + " refused"}, f.Because...)
			}
			out = append(out, f)
		}
	}
	return out
}

func wrongPort(p corev1.ServicePort, have []corev1.ContainerPort) (f Finding, wrong bool) {
	var words []string
	for _, c := range have {
		if p.TargetPort.Type == intstr.String && c.Name == p.TargetPort.StrVal || p.TargetPort.Type == intstr.Int && c.ContainerPort == p.TargetPort.IntVal {
			return f, false
		}
		words = append(words, portName(c))
	}
	declares := "its pods' containers declare " + some(words)
	if len(words) == 0 {
		declares = "its pods' containers declare no ports"
	}
	f = Finding{Severity: Unready, Because: []string{declares}}
	if p.TargetPort.Type == intstr.String {
		f.Cause = fmt.Sprintf("its port %d goes to a port called %q, and no container names one so", p.Port, p.TargetPort.StrVal)
		return f, true
	}
	f.Cause = fmt.Sprintf("its port %d goes to port %d of its pods, where nothing listens", p.Port, p.TargetPort.IntVal)
	return f, p.Protocol != corev1.ProtocolUDP && p.TargetPort.IntVal != 0
}
