package openapi

import "slices"

func pathParameter(name, doc string) object {
	return object{"name": name, "in": "path", "required": true, "description": doc, "schema": object{"type": "string", "uniqueItems": true}}
}

func queryParameter(name, typ, doc string) object {
	return object{"name": name, "in": "query", "description": doc, "schema": object{"type": typ, "uniqueItems": true}}
}

// The parameters that calls may carry, by what the call does.
var (
	selectParameters = []object{
		queryParameter("labelSelector", "string", "Return only objects whose labels it matches. Defaults to everything."),
		queryParameter("fieldSelector", "string", "Return only objects whose fields it matches. Defaults to everything."),
		queryParameter("limit", "integer", "The largest number of objects to return; the answer says how to go on."),
		queryParameter("continue", "string", "Where to go on, as the answer before told."),
		queryParameter("resourceVersion", "string", "How old the answer may be; without it, it is the newest."),
		queryParameter("resourceVersionMatch", "string", "How resourceVersion is meant: Exact or NotOlderThan."),
		queryParameter("timeoutSeconds", "integer", "How long the call may take."),
	}
	watchParameters = []object{
		queryParameter("watch", "boolean", "Watch for changes and return them as a stream. Specify resourceVersion."),
		queryParameter("allowWatchBookmarks", "boolean", "Also send now and then how far the watch is."),
		queryParameter("sendInitialEvents", "boolean", "Begin the watch with what there is, and a bookmark after it."),
	}
	writeParameters = []object{
		queryParameter("dryRun", "string", "With the value All, do everything but store the result."),
		queryParameter("fieldManager", "string", "The name of who makes the change, at most 128 printable characters."),
		queryParameter("fieldValidation", "string", "What to do with unknown and duplicate fields: Ignore, Warn (the default) or Strict."),
	}
	forceParameter = queryParameter("force", "boolean", "For apply patches: take over fields that others manage.")
	killParameters = []object{
		queryParameter("dryRun", "string", "With the value All, do everything but store the result."),
		queryParameter("gracePeriodSeconds", "integer", "How long the object has before it goes; zero is at once, without it the kind decides."),
		queryParameter("orphanDependents", "boolean", "Deprecated: use propagationPolicy."),
		queryParameter("propagationPolicy", "string", "What becomes of dependents: Orphan, Background or Foreground."),
		queryParameter("ignoreStoreReadErrorWithClusterBreakingPotential", "boolean", "Delete also what cannot be read."),
	}
)

func queryParameters(verb string, t target) []object {
	if t.body == nil {
		return nil
	}
	switch verb {
	case "list":
		return append(slices.Clone(selectParameters), watchParameters...)
	case "create", "update":
		return writeParameters
	case "patch":
		return append(slices.Clone(writeParameters), forceParameter)
	case "delete":
		return killParameters
	case "deletecollection":
		return append(slices.Clone(killParameters), selectParameters...)
	}
	if t.sub == "log" {
		return logParameters
	}
	return nil
}

var logParameters = []object{
	queryParameter("container", "string", "Whose logs; may be left out when the pod has only one container."),
	queryParameter("follow", "boolean", "Go on with what is logged later."),
	queryParameter("previous", "boolean", "Return the logs of the container before the last restart."),
	queryParameter("sinceSeconds", "integer", "Return only what is not older."),
	queryParameter("timestamps", "boolean", "Begin each line with the time at which it was written."),
	queryParameter("tailLines", "integer", "Return only so many lines from the end."),
	queryParameter("limitBytes", "integer", "Return at most so many bytes."),
	queryParameter("insecureSkipTLSVerifyBackend", "boolean", "Do not verify the certificate of the node."),
	queryParameter("stream", "string", "All, Stdout or Stderr."),
}
