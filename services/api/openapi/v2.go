package openapi

import (
	"slices"

	"karve.dev/karve/services/api/registry"
)

// buildV2 makes the one document of version 2, for clients that do not know version 3. It differs in where schemas
// live, and in how bodies and parameters are written.
func buildV2(string) (object, error) {
	s := newSchemas(2)
	paths := object{}
	for _, k := range registry.All() {
		addPaths(paths, s, k)
	}
	flatten(paths)
	return object{
		"swagger": "2.0", "info": info(), "paths": paths, "definitions": s.defs,
		"security": []object{{"BearerToken": []string{}}}, "securityDefinitions": object{"BearerToken": bearer},
	}, nil
}

// flatten puts paths into the form of version 2.
func flatten(paths object) {
	for _, item := range paths {
		for method, v := range item.(object) {
			if method == "parameters" {
				item.(object)[method] = flatParameters(v.([]object))
			} else {
				flatOperation(v.(object))
			}
		}
	}
}

func flatOperation(op object) {
	var parameters []object
	if all, ok := op["parameters"].([]object); ok {
		parameters = flatParameters(all)
	}
	if body, ok := op["requestBody"].(object); ok {
		delete(op, "requestBody")
		types, schema := split(body["content"].(object))
		op["consumes"] = types
		p := object{"name": "body", "in": "body", "schema": schema}
		if body["required"] == true {
			p["required"] = true
		}
		parameters = append(parameters, p)
	}
	if len(parameters) > 0 {
		op["parameters"] = parameters
	}
	for _, r := range op["responses"].(object) {
		response := r.(object)
		if c, ok := response["content"].(object); ok {
			delete(response, "content")
			op["produces"], response["schema"] = split(c)
		}
	}
	op["schemes"] = []string{"https"}
}

// flatParameters moves the type of each parameter beside its name.
func flatParameters(all []object) []object {
	out := make([]object, len(all))
	for i, p := range all {
		flat := object{}
		for k, v := range p {
			if k != "schema" {
				flat[k] = v
			}
		}
		for k, v := range p["schema"].(object) {
			flat[k] = v
		}
		out[i] = flat
	}
	return out
}

// split is the list of media types, and the schema that all of them have.
func split(content object) (types []string, schema any) {
	for t, v := range content {
		types = append(types, t)
		schema = v.(object)["schema"]
	}
	slices.Sort(types)
	return types, schema
}
