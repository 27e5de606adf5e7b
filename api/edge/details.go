package edge

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"

	"github.com/CalloraOrg/callora-backend/domain/fault"
)

// maxDetails bounds an answer: who sends a thousand mistakes learns of the first hundred.
const maxDetails = 100

// detailsOf translates the validator's findings. What is no finding about a field comes back as an error.
func detailsOf(err error) ([]fault.Detail, error) {
	if err == nil {
		return nil, nil
	}
	if many, ok := err.(openapi3.MultiError); ok {
		var all []fault.Detail
		for _, e := range many {
			details, err := detailsOf(e)
			if err != nil {
				return nil, err
			}
			all = append(all, details...)
		}
		return all[:min(len(all), maxDetails)], nil
	}
	var wrong *openapi3filter.RequestError
	if !errors.As(err, &wrong) {
		return nil, err
	}
	if p := wrong.Parameter; p != nil {
		place, name := "query.", p.Name
		if p.In == openapi3.ParameterInPath {
			place = "params."
		}
		return schemaDetails(wrong.Err, place+name, name+" "), nil
	}
	return bodyDetails(wrong)
}

func bodyDetails(wrong *openapi3filter.RequestError) ([]fault.Detail, error) {
	switch {
	case wrong.Err == nil:
		return nil, errMedia
	case errors.Is(wrong.Err, openapi3filter.ErrInvalidRequired):
		return []fault.Detail{{Field: "body", Message: "is required", Code: "REQUIRED"}}, nil
	}
	return schemaDetails(wrong.Err, "body", ""), nil
}

// schemaDetails says of each field what is accepted there, never what was sent. Messages begin with subject.
func schemaDetails(err error, field, subject string) []fault.Detail {
	if many, ok := err.(openapi3.MultiError); ok {
		var all []fault.Detail
		for _, e := range many {
			all = append(all, schemaDetails(e, field, subject)...)
		}
		return all
	}
	var s *openapi3.SchemaError
	if !errors.As(err, &s) {
		return []fault.Detail{{Field: field, Message: subject + "is not valid", Code: "INVALID_VALUE"}}
	}
	for _, name := range s.JSONPointer() {
		if strings.Trim(name, "0123456789") == "" {
			field += "[" + name + "]"
		} else {
			field += step(name)
		}
	}
	if s.SchemaField == "properties" { // the library tells the name in its words only
		quoted, _ := strconv.QuotedPrefix(strings.TrimPrefix(s.Reason, "property "))
		name, _ := strconv.Unquote(quoted)
		return []fault.Detail{{Field: field + step(name), Message: unknownName(name, propertiesOf(s.Schema)), Code: "UNKNOWN_FIELD"}}
	}
	code, message := explain(s)
	return []fault.Detail{{Field: field, Message: subject + message, Code: code}}
}

func propertiesOf(s *openapi3.Schema) []string { return slices.Sorted(maps.Keys(s.Properties)) }

// explain turns a broken rule of a schema into words.
func explain(s *openapi3.SchemaError) (code, message string) {
	switch rule := s.Schema; s.SchemaField {
	case "required":
		return "REQUIRED", "is required"
	case "nullable":
		return "INVALID_TYPE", "must not be null"
	case "type":
		return "INVALID_TYPE", "must be of type " + strings.Join(rule.Type.Slice(), " or ")
	case "enum":
		return "INVALID_VALUE", "must be one of: " + strings.Trim(strings.ReplaceAll(fmt.Sprint(rule.Enum), " ", ", "), "[]")
	case "minLength":
		return "TOO_SMALL", "must not be empty"
	case "maxLength":
		return "TOO_BIG", fmt.Sprintf("must have at most %d characters", *rule.MaxLength)
	case "minItems":
		return "TOO_SMALL", fmt.Sprintf("must have at least %d entry", rule.MinItems)
	case "maxItems":
		return "TOO_BIG", fmt.Sprintf("must have at most %d entries", *rule.MaxItems)
	case "minimum":
		return "TOO_SMALL", "must be >= " + plain(*rule.Min)
	case "maximum":
		return "TOO_BIG", "must be <= " + plain(*rule.Max)
	}
	if accepts, ok := s.Schema.Extensions["x-accepts"].(string); ok {
		return "INVALID_FORMAT", "must be " + accepts
	}
	return "INVALID_FORMAT", "has a wrong format"
}

// Invalid is the fault of a request that the generated decoder could not read although the validator let it pass.
func Invalid(err error) error {
	field := "body"
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && wrong.Field != "" {
		field += "." + wrong.Field
	}
	return fault.InvalidFields(fault.Detail{
		Field: field, Message: "must be a plain value of its type, a whole number without point or exponent", Code: "INVALID_VALUE",
	}).Because(err)
}

// plain writes a bound without an exponent.
func plain(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
