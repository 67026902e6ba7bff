package openapi

// definitionModels begins the names of the types of CustomResourceDefinitions.
const definitionModels = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1."

// definitionDocs tell what these types mean: they carry no comments at run time.
var definitionDocs = map[string]map[string]string{
	"CustomResourceDefinition": {
		"": "CustomResourceDefinition adds a kind of object to the API. Its name is <plural>.<group>.", "spec": "What the kind is called and what its objects look like.",
		"status": "Which names were accepted, and whether the kind is served.",
	},
	"CustomResourceDefinitionSpec": {
		"":      "CustomResourceDefinitionSpec tells what a kind is called and what its objects look like.",
		"group": "The API group: objects are served under /apis/<group>.", "names": "What the kind is called.",
		"scope": "Whether objects are in namespaces: Cluster or Namespaced.", "versions": "The versions of the kind; exactly one of them is the one that is stored.",
		"conversion": "How objects are converted between versions.", "preserveUnknownFields": "Must be false: use x-kubernetes-preserve-unknown-fields in schemas instead.",
	},
	"CustomResourceDefinitionNames": {
		"":       "CustomResourceDefinitionNames are what a kind is called.",
		"plural": "The name in URLs, in lower case.", "singular": "The name of one object, in lower case; by default the kind in lower case.",
		"shortNames": "Short names for the command line.", "kind": "The kind, as it stands in objects.", "listKind": "The kind of lists; by default <kind>List.",
		"categories": "Groups of resources to which the kind belongs, such as all.",
	},
	"CustomResourceDefinitionVersion": {
		"":     "CustomResourceDefinitionVersion is one version of a kind.",
		"name": "The version: v1, v2beta1.", "served": "Whether the version is served.", "storage": "Whether objects are stored in this version.",
		"deprecated": "Whether to warn who uses the version.", "deprecationWarning": "The warning, in place of the usual one.", "schema": "What objects look like.",
		"subresources": "Which subresources objects have.", "additionalPrinterColumns": "The columns of kubectl get, after the name.",
		"selectableFields": "The fields that field selectors may name.",
	},
	"CustomResourceColumnDefinition": {
		"":     "CustomResourceColumnDefinition is a column of kubectl get.",
		"name": "The title.", "type": "The OpenAPI type of the values, or date.", "format": "The OpenAPI format of the values.", "description": "What the column shows.",
		"priority": "Columns above 0 are shown only with -o wide.", "jsonPath": "Where the value is in the object, as in .spec.replicas.",
	},
	"CustomResourceValidation":   {"": "CustomResourceValidation tells what objects look like.", "openAPIV3Schema": "The structural OpenAPI v3 schema of the objects."},
	"CustomResourceSubresources": {"": "CustomResourceSubresources are the subresources of a kind.", "status": "If set, the status is written at /status only, and nothing else there.", "scale": "If set, /scale reads and writes the number of replicas."},
	"CustomResourceSubresourceScale": {
		"":                 "CustomResourceSubresourceScale tells where an object keeps what /scale shows.",
		"specReplicasPath": "The field with the wanted number, below .spec.", "statusReplicasPath": "The field with the actual number, below .status.",
		"labelSelectorPath": "The field with the selector of the pods in its text form, for autoscaling.",
	},
	"SelectableField": {"": "SelectableField is a field that field selectors may name.", "jsonPath": "Where the field is, as in .spec.color."},
	"CustomResourceConversion": {
		"":         "CustomResourceConversion tells how objects are converted between versions.",
		"strategy": "None, which only changes apiVersion, or Webhook.", "webhook": "The webhook to ask, with the strategy Webhook.",
	},
	"CustomResourceDefinitionStatus": {
		"":           "CustomResourceDefinitionStatus tells which names were accepted, and whether the kind is served.",
		"conditions": "NamesAccepted, Established, Terminating and others.", "acceptedNames": "The names under which the kind is served.",
		"storedVersions": "The versions in which objects may be stored. One may be removed once no object is stored in it.",
	},
	"CustomResourceDefinitionCondition": {
		"":     "CustomResourceDefinitionCondition is one aspect of a definition's state.",
		"type": "Which aspect.", "status": "True, False or Unknown.", "lastTransitionTime": "When the status changed last.",
		"reason": "Why, in one word.", "message": "Why, for people.",
	},
	"ValidationRule": {
		"":     "ValidationRule is a CEL expression that must be true.",
		"rule": "The expression; self is the value and oldSelf what it was.", "message": "What is told when it is false.",
		"messageExpression": "An expression that returns what is told.", "reason": "The kind of error that is returned.",
		"fieldPath": "The field that the error is about.", "optionalOldSelf": "Whether the rule also runs where there is no old value.",
	},
}
