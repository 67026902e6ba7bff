package openapi

// registrationModels begins the names of the types of APIServices.
const registrationModels = "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1."

// registrationDocs tell what these types mean: they carry no comments at run time.
var registrationDocs = map[string]map[string]string{
	"APIService": {
		"": "APIService says who serves a version of an API group. Its name is <version>.<group>.", "spec": "Who serves the version, and how it is ordered among the others.",
		"status": "Whether the version can be used.",
	},
	"APIServiceSpec": {
		"":        "APIServiceSpec says who serves a version of a group.",
		"service": "The Service before the server. Without one the API server itself serves the version.",
		"group":   "The group.", "version": "The version, such as v1.",
		"insecureSkipTLSVerify": "Do not check the server's certificate. Give caBundle instead where you can.",
		"caBundle":              "The authorities, in PEM, that the server's certificate is checked with. By default those of the system.",
		"groupPriorityMinimum":  "The group's place among the groups, the highest first. The highest of a group's versions counts.",
		"versionPriority":       "The version's place among those of its group, the highest first. Where they are equal, the names decide: v2, v1, v1beta1.",
	},
	"ServiceReference": {
		"":          "ServiceReference names a port of a Service.",
		"namespace": "The Service's namespace.", "name": "The Service's name.", "port": "The Service's port, 443 by default.",
	},
	"APIServiceStatus":    {"": "APIServiceStatus says whether the version can be used.", "conditions": "Available is the one there is."},
	"APIServiceCondition": {"": "APIServiceCondition is one aspect of an APIService's state.", "type": "Which aspect.", "status": "True, False or Unknown.", "lastTransitionTime": "When the status changed last.", "reason": "Why, in one word.", "message": "Why, for people."},
}
