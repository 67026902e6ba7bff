package authz

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"

	"karve.dev/karve/internal/identity"
)

// nodeLabels are the labels of kubernetes.io and k8s.io that a node may set on itself; those of kubelet.kubernetes.io
// and node.kubernetes.io are its own too.
var nodeLabels = []string{
	corev1.LabelHostname, corev1.LabelOSStable, corev1.LabelArchStable, corev1.LabelInstanceTypeStable, corev1.LabelInstanceType,
	corev1.LabelTopologyZone, corev1.LabelTopologyRegion, corev1.LabelFailureDomainBetaZone, corev1.LabelFailureDomainBetaRegion,
	"beta.kubernetes.io/os", "beta.kubernetes.io/arch",
}

// RestrictNode refuses what a node may write by its verb and name but not with these contents: foreign Node objects,
// labels and taints that place pods, pods that are not mirrors of its own, tokens for other nodes' pods. Obj is what
// is to be stored or, for serviceaccounts/token, the TokenRequest; old is nil on create. Other callers pass.
func (a *Authorizer) RestrictNode(ctx context.Context, attrs Attributes, obj, old any) error {
	node, ok := identity.NodeName(attrs.User)
	if !ok || slices.Contains(attrs.User.Groups, identity.GroupMasters) {
		return nil
	}
	var why string
	var err error
	switch o := obj.(type) {
	case *corev1.Node:
		before, _ := old.(*corev1.Node)
		why = restrictNodeObject(node, o, before)
	case *corev1.Pod:
		before, _ := old.(*corev1.Pod)
		why = restrictPod(node, o, before)
	case *certificatesv1.PodCertificateRequest:
		why, err = a.restrictPodCertificate(ctx, node, attrs, o)
	case *authenticationv1.TokenRequest:
		why, err = a.restrictToken(ctx, node, attrs, o)
	case metav1.Object:
		if attrs.Resource == "leases" || attrs.Resource == "csinodes" {
			if o.GetName() != node {
				why = fmt.Sprintf("can only access %s with the same name as the requesting node", attrs.Resource)
			}
		}
	}
	if err != nil || why == "" {
		return err
	}
	return apierrors.NewForbidden(schema.GroupResource{Group: attrs.Group, Resource: attrs.Resource}, attrs.Name, fmt.Errorf("node %q %s", node, why))
}

func restrictNodeObject(node string, obj, old *corev1.Node) string {
	if obj.Name != node {
		return fmt.Sprintf("is not allowed to modify node %q", obj.Name)
	}
	var before map[string]string
	if old != nil {
		before = old.Labels
		if !reflect.DeepEqual(obj.Spec.Taints, old.Spec.Taints) {
			return "is not allowed to modify taints"
		}
		if !reflect.DeepEqual(obj.OwnerReferences, old.OwnerReferences) {
			return "is not allowed to modify ownerReferences"
		}
	}
	if bad := forbiddenLabels(obj.Labels, before); len(bad) > 0 {
		if old == nil {
			return "is not allowed to set the following labels: " + strings.Join(bad, ", ")
		}
		return "is not allowed to modify labels: " + strings.Join(bad, ", ")
	}
	return ""
}

// forbiddenLabels returns the labels that differ and that a node may not set.
func forbiddenLabels(now, before map[string]string) []string {
	var bad []string
	all := maps.Clone(before)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, now)
	for key := range all {
		a, hadA := now[key]
		b, hadB := before[key]
		if (hadA != hadB || a != b) && !nodeMaySet(key) {
			bad = append(bad, key)
		}
	}
	slices.Sort(bad)
	return bad
}

func nodeMaySet(label string) bool {
	domain, _, ok := strings.Cut(label, "/")
	if !ok || slices.Contains(nodeLabels, label) {
		return true
	}
	in := func(d string) bool { return domain == d || strings.HasSuffix(domain, "."+d) }
	switch {
	case in("node-restriction.kubernetes.io"):
		return false
	case in("kubelet.kubernetes.io") || in("node.kubernetes.io"):
		return true
	}
	return !in("kubernetes.io") && !in("k8s.io")
}

func restrictPod(node string, pod, old *corev1.Pod) string {
	if old != nil {
		switch {
		case old.Spec.NodeName != node:
			return "can only update pod status for pods with spec.nodeName set to itself"
		case !maps.Equal(pod.Labels, old.Labels):
			return "cannot update labels through pod status"
		}
		return ""
	}
	if _, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; !mirror {
		return fmt.Sprintf("can only create mirror pods, pod does not have %q annotation", corev1.MirrorPodAnnotationKey)
	}
	if pod.Spec.NodeName != node {
		return "can only create pods with spec.nodeName set to itself"
	}
	if why := restrictOwners(node, pod.OwnerReferences); why != "" {
		return why
	}
	if refersToOthers(pod) {
		return "can not create pods that reference service accounts, secrets, configmaps or claims"
	}
	return ""
}

// restrictOwners: what a node makes goes when the node does.
func restrictOwners(node string, owners []metav1.OwnerReference) string {
	switch {
	case len(owners) > 1:
		return "can only create pods with a single owner reference set to itself"
	case len(owners) == 0, owners[0].APIVersion != "v1" || owners[0].Kind != "Node" || owners[0].Name != node:
		return "can only create pods with an owner reference set to itself"
	case !ptr.Deref(owners[0].Controller, false):
		return "can only create pods with a controller owner reference set to itself"
	case ptr.Deref(owners[0].BlockOwnerDeletion, false):
		return "must not set blockOwnerDeletion on an owner reference"
	}
	return ""
}

func refersToOthers(pod *corev1.Pod) bool {
	if pod.Spec.ServiceAccountName != "" || len(pod.Spec.ImagePullSecrets)+len(pod.Spec.ResourceClaims) > 0 {
		return true
	}
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		// An empty directory, a folder of the node, the pod's own fields: what needs no other object.
		if v.EmptyDir == nil && v.HostPath == nil && v.DownwardAPI == nil && v.Image == nil {
			return true
		}
	}
	return anyEnv(pod, func(from *corev1.EnvFromSource, value *corev1.EnvVarSource) bool {
		return from != nil || value.SecretKeyRef != nil || value.ConfigMapKeyRef != nil
	})
}

func (a *Authorizer) restrictToken(ctx context.Context, node string, attrs Attributes, req *authenticationv1.TokenRequest) (string, error) {
	ref := req.Spec.BoundObjectRef
	if ref == nil || ref.Kind != "Pod" || ref.APIVersion != "v1" || ref.UID == "" {
		return "can only request tokens bound to a pod", nil
	}
	if a.pods == nil {
		return "can not be checked", nil
	}
	pod, err := a.pods.Pod(ctx, attrs.Namespace, ref.Name)
	if err != nil {
		return "", fmt.Errorf("read the pod of a token: %w", err)
	}
	switch {
	case pod == nil || pod.UID != ref.UID:
		return "requested a token bound to a pod that does not exist", nil
	case pod.Spec.NodeName != node:
		return "requested a token bound to a pod scheduled on a different node", nil
	case pod.Spec.ServiceAccountName != attrs.Name:
		return "requested a token for a service account that the pod does not use", nil
	}
	return a.restrictAudience(ctx, attrs, req.Spec.Audiences, pod)
}

// restrictAudience: a node gets tokens for whom the pod's volumes name; for others it needs the right.
func (a *Authorizer) restrictAudience(ctx context.Context, attrs Attributes, audiences []string, pod *corev1.Pod) (string, error) {
	if len(audiences) > 1 {
		return "may only request 0 or 1 audiences", nil
	}
	audience := strings.Join(audiences, "")
	if a.issuer != nil && audience == a.issuer() {
		audience = ""
	}
	for i := range pod.Spec.Volumes {
		if projected := pod.Spec.Volumes[i].Projected; projected != nil {
			for _, source := range projected.Sources {
				if source.ServiceAccountToken != nil && source.ServiceAccountToken.Audience == audience {
					return "", nil
				}
			}
		}
	}
	allowed, _, err := a.Authorize(ctx, Attributes{
		User: attrs.User, Verb: "request-serviceaccounts-token-audience", Version: "v1", Resource: audience, Namespace: attrs.Namespace, Name: attrs.Name,
	})
	if err != nil || allowed {
		return "", err
	}
	return fmt.Sprintf("is not authorized to request tokens for audience %q", audience), nil
}
