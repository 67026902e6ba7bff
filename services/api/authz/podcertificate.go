package authz

import (
	"context"
	"fmt"

	certificatesv1 "k8s.io/api/certificates/v1"
)

// restrictPodCertificate: a node asks for certificates of its own pods only, in the name of the account that they have.
func (a *Authorizer) restrictPodCertificate(ctx context.Context, node string, attrs Attributes, req *certificatesv1.PodCertificateRequest) (string, error) {
	if a.pods == nil {
		return "can not be checked", nil
	}
	if string(req.Spec.NodeName) != node {
		return "can only request certificates as itself", nil
	}
	pod, err := a.pods.Pod(ctx, attrs.Namespace, req.Spec.PodName)
	if err != nil {
		return "", fmt.Errorf("read the pod of a certificate: %w", err)
	}
	account := ""
	if pod != nil {
		account = pod.Spec.ServiceAccountName
	}
	switch {
	case pod == nil || pod.UID != req.Spec.PodUID:
		return "requested a certificate for a pod that does not exist", nil
	case pod.Spec.NodeName != node:
		return "requested a certificate for a pod scheduled on a different node", nil
	case account != req.Spec.ServiceAccountName:
		return "requested a certificate for a service account that the pod does not use", nil
	}
	return "", nil
}
