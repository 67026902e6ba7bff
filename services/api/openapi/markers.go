package openapi

import (
	_ "embed"
	"encoding/json"
	"reflect"
	"strings"
	"sync"
)

// markerText is what the comments of Kubernetes' types tell beyond their declarations; see internal/markers.
//
//go:embed markers.txt
var markerText string

// marks are the markers of one type or field.
type marks struct {
	list, mapping      string
	keys, enum         []string
	defaultJSON        string
	optional, required bool
}

// markers finds the line of a type or field when it is asked for; parsing all of it is cheap and seldom done.
var markers = sync.OnceValue(func() map[string]string {
	all := map[string]string{}
	for line := range strings.Lines(markerText) {
		name, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		field, rest, _ := strings.Cut(rest, " ")
		all[name+" "+field] = rest
	}
	return all
})

// marksOf are the markers of a field of a type, of the type itself for "-".
func marksOf(t reflect.Type, field string) marks {
	var m marks
	for mark := range strings.FieldsSeq(markers()[t.PkgPath()+"."+t.Name()+" "+field]) {
		key, value, _ := strings.Cut(mark, "=")
		switch key {
		case "list":
			m.list = value
		case "map":
			m.mapping = value
		case "keys":
			m.keys = strings.Split(value, ",")
		case "enum":
			m.enum = strings.Split(value, ",")
		case "default":
			if json.Valid([]byte(value)) {
				m.defaultJSON = value
			}
		case "optional":
			m.optional = true
		case "required":
			m.required = true
		}
	}
	return m
}
