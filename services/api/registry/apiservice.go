package registry

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"karve.dev/karve/services/api/registry/check"
)

type apiservice = apiregistrationv1.APIService

func apiService() *Kind {
	life := specAndStatus(func(s *apiservice) (*apiregistrationv1.APIServiceSpec, *apiregistrationv1.APIServiceStatus) {
		return &s.Spec, &s.Status
	})
	return define(Spec[*apiservice]{
		GVK: gvk("apiregistration.k8s.io", "v1", "APIService"), Resource: "apiservices", Singular: "apiservice", Categories: apiExtensions,
		New:     func() *apiservice { return &apiservice{} },
		NewList: func() runtime.Object { return &apiregistrationv1.APIServiceList{} },
		Default: func(s *apiservice) {
			if s.Spec.Service != nil {
				point(&s.Spec.Service.Port, 443)
			}
		},
		Life: life,
		PrepareCreate: func(s *apiservice) {
			life.create(s)
			if s.Spec.Service == nil {
				s.Status.Conditions = []apiregistrationv1.APIServiceCondition{LocalAPIService(metav1.Now().Rfc3339Copy())}
			}
		},
		// What the name must be depends on the spec.
		ValidateName: func(string, bool) []string { return nil },
		Validate:     validateAPIService,
		Columns:      columns("Name|Service|Available|Age"),
		Cells: func(s *apiservice, now time.Time) []any {
			server := "Local"
			if to := s.Spec.Service; to != nil {
				server = to.Namespace + "/" + to.Name
			}
			return []any{s.Name, server, availability(s), age(s.CreationTimestamp, now)}
		},
	})
}

// LocalAPIService is the condition of group versions that the API service itself serves.
func LocalAPIService(since metav1.Time) apiregistrationv1.APIServiceCondition {
	return apiregistrationv1.APIServiceCondition{
		Type: apiregistrationv1.Available, Status: apiregistrationv1.ConditionTrue, LastTransitionTime: since,
		Reason: "Local", Message: "Local APIServices are always available",
	}
}

func availability(s *apiservice) string {
	for _, c := range s.Status.Conditions {
		if c.Type != apiregistrationv1.Available {
			continue
		}
		if c.Status == apiregistrationv1.ConditionTrue {
			return string(c.Status)
		}
		return fmt.Sprintf("%s (%s)", c.Status, c.Reason)
	}
	return "Unknown"
}

func validateAPIService(s *apiservice) field.ErrorList {
	const groupMost, versionMost = 20000, 1000
	var e check.Errors
	p := field.NewPath("spec")
	if name := s.Spec.Version + "." + s.Spec.Group; s.Name != name {
		e.Invalid(field.NewPath("metadata", "name"), s.Name, fmt.Sprintf("must be `spec.version+\".\"+spec.group`: %q", name))
	}
	switch {
	case s.Spec.Group != "":
		e.Messages(p.Child("group"), s.Spec.Group, validation.IsDNS1123Subdomain(s.Spec.Group))
	case s.Spec.Version != "v1":
		e.Required(p.Child("group"), "only v1 may have an empty group and it better be legacy kube")
	}
	e.Messages(p.Child("version"), s.Spec.Version, validation.IsDNS1035Label(s.Spec.Version))
	if n := s.Spec.GroupPriorityMinimum; n <= 0 || n > groupMost {
		e.Invalid(p.Child("groupPriorityMinimum"), n, fmt.Sprintf("must be positive and less than %d", groupMost))
	}
	if n := s.Spec.VersionPriority; n <= 0 || n > versionMost {
		e.Invalid(p.Child("versionPriority"), n, fmt.Sprintf("must be positive and less than %d", versionMost))
	}
	validateAPIServer(&e, p, &s.Spec)
	return e.List()
}

func validateAPIServer(e *check.Errors, p *field.Path, spec *apiregistrationv1.APIServiceSpec) {
	to := spec.Service
	if to == nil {
		if n := len(spec.CABundle); n > 0 {
			e.Invalid(p.Child("caBundle"), fmt.Sprintf("%d bytes", n), "local APIServices may not have a caBundle")
		}
		e.If(spec.InsecureSkipTLSVerify, p.Child("insecureSkipTLSVerify"), true, "local APIServices may not have insecureSkipTLSVerify")
		return
	}
	e.NotEmpty(p.Child("service", "namespace"), to.Namespace)
	e.NotEmpty(p.Child("service", "name"), to.Name)
	if to.Port != nil {
		for _, wrong := range validation.IsValidPortNum(int(*to.Port)) {
			e.Invalid(p.Child("service", "port"), *to.Port, "port is not valid: "+wrong)
		}
	}
	e.If(spec.InsecureSkipTLSVerify && len(spec.CABundle) > 0, p.Child("insecureSkipTLSVerify"), true, "may not be true if caBundle is present")
}
