package registry

import (
	"strings"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
)

func certificates(kind string) schema.GroupVersionKind {
	return gvk("certificates.k8s.io", "v1", kind)
}

func certificateSigningRequest() *Kind {
	parts := specAndStatus(func(o *certificatesv1.CertificateSigningRequest) (*certificatesv1.CertificateSigningRequestSpec, *certificatesv1.CertificateSigningRequestStatus) {
		return &o.Spec, &o.Status
	})
	return define(Spec[*certificatesv1.CertificateSigningRequest]{
		GVK: certificates("CertificateSigningRequest"), Resource: "certificatesigningrequests", Singular: "certificatesigningrequest", ShortNames: []string{"csr"},
		New:     func() *certificatesv1.CertificateSigningRequest { return &certificatesv1.CertificateSigningRequest{} },
		NewList: func() runtime.Object { return &certificatesv1.CertificateSigningRequestList{} },
		Life:    parts,
		// Who asks is not what the request says: the server writes it in.
		PrepareUpdate: func(c, old *certificatesv1.CertificateSigningRequest) { c.Spec, c.Status = old.Spec, old.Status },
		// The signer writes the certificate; who approves writes the conditions, through a subresource of its own.
		PrepareStatus: func(c, old *certificatesv1.CertificateSigningRequest) {
			parts.status(c, old)
			c.Status.Conditions = keepDecisions(c.Status.Conditions, old.Status.Conditions)
		},
		Validate:       validateSigningRequest,
		ValidateStatus: validateSignature,
		Columns:        columns("Name|Age|SignerName|Requestor|RequestedDuration|Condition"),
		Cells:          signingRequestCells,
		Fields: func(c *certificatesv1.CertificateSigningRequest) fields.Set {
			return fields.Set{"spec.signerName": c.Spec.SignerName}
		},
		Subresources: []Subresource{part("approval", func(c, old *certificatesv1.CertificateSigningRequest) {
			conditions := c.Status.Conditions
			parts.update(c, old)
			c.Spec, c.Status.Conditions = old.Spec, conditions
		}, validateDecision)},
	})
}

// keepDecisions lets a signer add that it failed, and leaves approval and denial as they are.
func keepDecisions(now, was []certificatesv1.CertificateSigningRequestCondition) []certificatesv1.CertificateSigningRequestCondition {
	out := make([]certificatesv1.CertificateSigningRequestCondition, 0, len(was)+1)
	for _, c := range was {
		if c.Type != certificatesv1.CertificateFailed {
			out = append(out, c)
		}
	}
	for _, c := range now {
		if c.Type == certificatesv1.CertificateFailed {
			out = append(out, c)
		}
	}
	return out
}

func signingRequestCells(c *certificatesv1.CertificateSigningRequest, now time.Time) []any {
	asked := none
	if s := c.Spec.ExpirationSeconds; s != nil {
		asked = duration.HumanDuration(time.Duration(*s) * time.Second)
	}
	state := map[certificatesv1.RequestConditionType]bool{}
	for _, d := range c.Status.Conditions {
		state[d.Type] = true
	}
	words := []string{"Pending"}
	switch {
	case state[certificatesv1.CertificateDenied]:
		words = []string{"Denied"}
	case state[certificatesv1.CertificateApproved]:
		words = []string{"Approved"}
	}
	if state[certificatesv1.CertificateFailed] {
		words = append(words, "Failed")
	}
	if len(c.Status.Certificate) > 0 {
		words = append(words, "Issued")
	}
	return []any{c.Name, age(c.CreationTimestamp, now), c.Spec.SignerName, c.Spec.Username, asked, strings.Join(words, ",")}
}

func clusterTrustBundle() *Kind {
	return define(Spec[*certificatesv1.ClusterTrustBundle]{
		GVK: certificates("ClusterTrustBundle"), Resource: "clustertrustbundles", Singular: "clustertrustbundle",
		New:            func() *certificatesv1.ClusterTrustBundle { return &certificatesv1.ClusterTrustBundle{} },
		NewList:        func() runtime.Object { return &certificatesv1.ClusterTrustBundleList{} },
		ValidateName:   segment,
		Validate:       validateTrustBundle,
		ValidateUpdate: validateTrustBundleUpdate,
		Columns:        columns("Name|SignerName"),
		Cells: func(b *certificatesv1.ClusterTrustBundle, _ time.Time) []any {
			return []any{b.Name, orNone(b.Spec.SignerName)}
		},
		Fields: func(b *certificatesv1.ClusterTrustBundle) fields.Set {
			return fields.Set{"spec.signerName": b.Spec.SignerName}
		},
	})
}

func podCertificateRequest() *Kind {
	return define(Spec[*certificatesv1.PodCertificateRequest]{
		GVK: certificates("PodCertificateRequest"), Resource: "podcertificaterequests", Singular: "podcertificaterequest", Namespaced: true,
		New:     func() *certificatesv1.PodCertificateRequest { return &certificatesv1.PodCertificateRequest{} },
		NewList: func() runtime.Object { return &certificatesv1.PodCertificateRequestList{} },
		Life: specAndStatus(func(o *certificatesv1.PodCertificateRequest) (*certificatesv1.PodCertificateRequestSpec, *certificatesv1.PodCertificateRequestStatus) {
			return &o.Spec, &o.Status
		}),
		Validate: func(r *certificatesv1.PodCertificateRequest) field.ErrorList {
			var e check.Errors
			p := field.NewPath("spec")
			e.NotEmpty(p.Child("signerName"), r.Spec.SignerName)
			e.NotEmpty(p.Child("podName"), r.Spec.PodName)
			e.NotEmpty(p.Child("nodeName"), string(r.Spec.NodeName))
			return e.List()
		},
		ValidateUpdate: func(r, old *certificatesv1.PodCertificateRequest) field.ErrorList {
			var e check.Errors
			e.Immutable(field.NewPath("spec"), r.Spec, old.Spec)
			return e.List()
		},
		Columns: columns("Name|PodName|ServiceAccountName|NodeName|SignerName|State|Age"),
		Cells: func(r *certificatesv1.PodCertificateRequest, now time.Time) []any {
			state := "Pending"
			for _, c := range r.Status.Conditions {
				state = c.Type
			}
			return []any{r.Name, r.Spec.PodName, r.Spec.ServiceAccountName, string(r.Spec.NodeName), r.Spec.SignerName, state, age(r.CreationTimestamp, now)}
		},
		Fields: func(r *certificatesv1.PodCertificateRequest) fields.Set {
			return fields.Set{"spec.signerName": r.Spec.SignerName, "spec.podName": r.Spec.PodName, "spec.nodeName": string(r.Spec.NodeName)}
		},
	})
}
