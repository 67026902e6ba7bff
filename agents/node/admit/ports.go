package admit

import (
	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/internal/hostport"
)

func ports(pod *corev1.Pod, facts *Facts) *Refusal {
	wanted := hostport.Of(pod)
	if len(wanted) == 0 {
		return nil
	}
	for _, other := range facts.Others {
		for _, taken := range hostport.Of(other) {
			for _, p := range wanted {
				if p.Meets(taken) {
					return &Refusal{"NodePorts", "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"}
				}
			}
		}
	}
	return nil
}
