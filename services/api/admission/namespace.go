package admission

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var (
	gvkNamespace = corev1.SchemeGroupVersion.WithKind("Namespace")
	// undeletable are the namespaces without which a cluster does not work.
	undeletable = map[string]bool{metav1.NamespaceDefault: true, metav1.NamespaceSystem: true, metav1.NamespacePublic: true}
)

// namespaceLifecycle refuses new objects in namespaces that are not there or are on their way out.
type namespaceLifecycle struct{ Reader }

func (p namespaceLifecycle) Admit(ctx context.Context, a *Attributes) error {
	if a.Operation == Delete && a.Is("", "Namespace") && undeletable[a.Name] {
		return apierrors.NewForbidden(a.GroupResource(), a.Name, fmt.Errorf("this namespace may not be deleted"))
	}
	if a.Operation != Create || !a.Kind.Namespaced || reviews[a.Kind.Group] {
		return nil
	}
	ns, err := a.ReadNamespace(ctx, p.Reader)
	if err != nil {
		return err
	}
	if ns.DeletionTimestamp == nil && ns.Status.Phase != corev1.NamespaceTerminating {
		return nil
	}
	refused := apierrors.NewForbidden(a.GroupResource(), a.Name, fmt.Errorf("unable to create new content in namespace %s because it is being terminated", a.Namespace))
	refused.ErrStatus.Details.Causes = append(refused.ErrStatus.Details.Causes, metav1.StatusCause{
		Type: corev1.NamespaceTerminatingCause, Message: fmt.Sprintf("namespace %s is being terminated", a.Namespace), Field: "metadata.namespace",
	})
	return refused
}

// reviews are groups whose objects are questions: they may be asked about any namespace.
var reviews = map[string]bool{"authorization.k8s.io": true, "authentication.k8s.io": true}
