package admission

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"karve.dev/karve/services/api/registry"
)

var gvkPriorityClass = schedulingv1.SchemeGroupVersion.WithKind("PriorityClass")

// SystemPriorities are the classes that every cluster has.
var SystemPriorities = []struct {
	Name        string
	Value       int32
	Description string
}{
	{"system-node-critical", 2000001000, "Used for system critical pods that must not be moved from their current node."},
	{"system-cluster-critical", 2000000000, "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary."},
}

// priority works out the number that a pod's priority class stands for.
type priority struct{ Reader }

var _ Validator = priority{}

// Admit implements Plugin.
func (p priority) Admit(ctx context.Context, a *Attributes) error {
	if a.Object == nil || !a.Is("", "Pod") {
		return nil
	}
	pod := a.Object.(*corev1.Pod)
	switch a.Operation {
	case Update:
		keepPriority(pod, a.Old.(*corev1.Pod))
	case Create:
		return p.setPriority(ctx, a, pod)
	}
	return nil
}

// keepPriority gives a pod back what a client has left out that does not know it.
func keepPriority(pod, old *corev1.Pod) {
	if pod.Spec.Priority == nil {
		pod.Spec.Priority = old.Spec.Priority
	}
	if pod.Spec.PreemptionPolicy == nil {
		pod.Spec.PreemptionPolicy = old.Spec.PreemptionPolicy
	}
}

func (p priority) setPriority(ctx context.Context, a *Attributes, pod *corev1.Pod) error {
	class, err := p.class(ctx, pod.Spec.PriorityClassName)
	if err != nil {
		return a.forbidden(err)
	}
	value, policy := int32(0), corev1.PreemptLowerPriority
	if class != nil {
		value, pod.Spec.PriorityClassName = class.Value, class.Name
		if class.PreemptionPolicy != nil {
			policy = *class.PreemptionPolicy
		}
	}
	if said := pod.Spec.Priority; said != nil && *said != value {
		return a.forbidden(fmt.Errorf("the integer value of priority (%d) must not be provided in pod spec; priority admission controller computed %d from the given PriorityClass name", *said, value))
	}
	if said := pod.Spec.PreemptionPolicy; said != nil && *said != policy {
		return a.forbidden(fmt.Errorf("the string value of PreemptionPolicy (%s) must not be provided in pod spec; priority admission controller computed %s from the given PriorityClass name", *said, policy))
	}
	pod.Spec.Priority, pod.Spec.PreemptionPolicy = &value, &policy
	return nil
}

// Validate implements Validator: only one class is the default.
func (p priority) Validate(ctx context.Context, a *Attributes) error {
	if a.Operation != Create && a.Operation != Update || !a.Is(schedulingv1.GroupName, "PriorityClass") {
		return nil
	}
	class := a.Object.(*schedulingv1.PriorityClass)
	if !class.GlobalDefault {
		return nil
	}
	other, err := p.globalDefault(ctx)
	if err != nil || other == nil || a.Operation == Update && other.Name == class.Name {
		return err
	}
	return a.forbidden(fmt.Errorf("PriorityClass %v is already marked as default. Only one default can exist", other.Name))
}

// class returns the class with the name, or the global default, which may be nil.
func (p priority) class(ctx context.Context, name string) (*schedulingv1.PriorityClass, error) {
	if _, served := registry.Lookup(gvkPriorityClass); !served {
		return builtinClass(name)
	}
	if name == "" {
		return p.globalDefault(ctx)
	}
	obj, err := p.Read(ctx, gvkPriorityClass, "", name)
	if apierrors.IsNotFound(err) {
		return builtinClass(name)
	}
	if err != nil {
		return nil, err
	}
	return obj.(*schedulingv1.PriorityClass), nil
}

func builtinClass(name string) (*schedulingv1.PriorityClass, error) {
	if name == "" {
		return nil, nil
	}
	for _, c := range SystemPriorities {
		if c.Name == name {
			class := &schedulingv1.PriorityClass{Value: c.Value}
			class.Name = name
			return class, nil
		}
	}
	return nil, fmt.Errorf("no PriorityClass with name %s was found", name)
}

func (p priority) globalDefault(ctx context.Context) (*schedulingv1.PriorityClass, error) {
	all, err := p.ReadAll(ctx, gvkPriorityClass, "")
	if err != nil {
		return nil, err
	}
	var best *schedulingv1.PriorityClass
	for _, obj := range all {
		c := obj.(*schedulingv1.PriorityClass)
		if c.GlobalDefault && (best == nil || c.Value < best.Value) {
			best = c
		}
	}
	return best, nil
}
