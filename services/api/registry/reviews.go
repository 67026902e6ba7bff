package registry

import (
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
)

// The kinds of this file are questions: they are posted, answered and not stored.

var createOnly = []string{"create"}

func binding() *Kind {
	return define(Spec[*corev1.Binding]{
		GVK: core("Binding"), Resource: "bindings", Singular: "binding", Namespaced: true, Verbs: createOnly,
		New: func() *corev1.Binding { return &corev1.Binding{} },
	})
}

func tokenReview() *Kind {
	return define(Spec[*authenticationv1.TokenReview]{
		GVK: gvk("authentication.k8s.io", "v1", "TokenReview"), Resource: "tokenreviews", Singular: "tokenreview", Verbs: createOnly,
		New: func() *authenticationv1.TokenReview { return &authenticationv1.TokenReview{} },
	})
}

func selfSubjectReview() *Kind {
	return define(Spec[*authenticationv1.SelfSubjectReview]{
		GVK: gvk("authentication.k8s.io", "v1", "SelfSubjectReview"), Resource: "selfsubjectreviews", Singular: "selfsubjectreview", Verbs: createOnly,
		New: func() *authenticationv1.SelfSubjectReview { return &authenticationv1.SelfSubjectReview{} },
	})
}

func subjectAccessReview() *Kind {
	return define(Spec[*authorizationv1.SubjectAccessReview]{
		GVK: gvk("authorization.k8s.io", "v1", "SubjectAccessReview"), Resource: "subjectaccessreviews", Singular: "subjectaccessreview", Verbs: createOnly,
		New: func() *authorizationv1.SubjectAccessReview { return &authorizationv1.SubjectAccessReview{} },
	})
}

func selfSubjectAccessReview() *Kind {
	return define(Spec[*authorizationv1.SelfSubjectAccessReview]{
		GVK: gvk("authorization.k8s.io", "v1", "SelfSubjectAccessReview"), Resource: "selfsubjectaccessreviews", Singular: "selfsubjectaccessreview",
		Verbs: createOnly,
		New:   func() *authorizationv1.SelfSubjectAccessReview { return &authorizationv1.SelfSubjectAccessReview{} },
	})
}

func selfSubjectRulesReview() *Kind {
	return define(Spec[*authorizationv1.SelfSubjectRulesReview]{
		GVK: gvk("authorization.k8s.io", "v1", "SelfSubjectRulesReview"), Resource: "selfsubjectrulesreviews", Singular: "selfsubjectrulesreview",
		Verbs: createOnly,
		New:   func() *authorizationv1.SelfSubjectRulesReview { return &authorizationv1.SelfSubjectRulesReview{} },
	})
}

func localSubjectAccessReview() *Kind {
	return define(Spec[*authorizationv1.LocalSubjectAccessReview]{
		GVK: gvk("authorization.k8s.io", "v1", "LocalSubjectAccessReview"), Resource: "localsubjectaccessreviews", Singular: "localsubjectaccessreview",
		Namespaced: true, Verbs: createOnly,
		New: func() *authorizationv1.LocalSubjectAccessReview { return &authorizationv1.LocalSubjectAccessReview{} },
	})
}
