// Helm's errors, which name templates by their charts and may quote values, told as places in Git.
package main

import (
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// located is an error that knows its place better than its text says.
type located struct {
	problem
}

func (err located) Error() string { return err.Message }

var templatePlace = regexp.MustCompile(`([\w.-]+/(?:charts/[\w.-]+/)*templates/[^\s:()"']+):(\d+)`)

// explain turns Helm's errors, which name templates by the charts they are in, into a place in Git.
func (rendering *helmRendering) explain(err error) problem {
	var known located
	if errors.As(err, &known) {
		return known.problem
	}
	message := withoutValues(err.Error())
	found := problem{Code: renderFailed, Message: "Helm: " + shorten(withoutCalls(message)), File: rendering.chartFile}
	if match := templatePlace.FindStringSubmatch(message); match != nil && rendering.chart != nil {
		found.File = rendering.sourceOf(match[1])
		found.Line, _ = strconv.Atoi(match[2])
	}
	return found
}

var (
	templateText = regexp.MustCompile(`(cannot parse template|error during tpl function execution for) "(?:[^"\\]|\\.)*"`)
	// The reason why a format does not fit quotes the value once more.
	schemaValue  = regexp.MustCompile(`(at '(?:[^'\\]|\\.)*': )'(?:[^'\\]|\\.)*' (does not match|is not valid [\w-]+(?:: [^\n]*)?)`)
	schemaReason = regexp.MustCompile(`(the value is not valid [\w-]+): [^\n]*`)
	schemaName   = regexp.MustCompile(`(at '(?:[^'\\]|\\.)*': invalid propertyName) '(?:[^'\\]|\\.)*'`)
	schemaNumber = regexp.MustCompile(`((?:exclusiveM|m)(?:inimum|aximum)|multipleOf): got [^\n]*, want`)
)

var (
	// What a function says goes to the end of the message.
	lastCall = regexp.MustCompile(`(?s)(.*: error calling (\w+): )(.*)`)
	// From the first quotation mark to the last: what is quoted may hold some itself.
	quoted     = regexp.MustCompile("(?s)[\"`].*[\"`]")
	unquoted   = regexp.MustCompile(`(?s)^((?:error parsing ip|improper constraint): ).*`)
	calledText = regexp.MustCompile(`(executing "gotpl" at )<[^\n]*>: (expected [^\n;]*; found [^\n]*)?`)
)

// Their messages are the author's own, those of other calls, or Fairlead's.
var speaking = []string{"fail", "required", "include", "tpl", "lookup"}

// withoutValues leaves out what may be a secret: texts given to tpl, what functions quote of what they are given, and values and names that a schema refuses.
func withoutValues(message string) string {
	message = templateText.ReplaceAllString(message, "$1 …")
	message = calledText.ReplaceAllString(message, "$1…: ")
	if call := lastCall.FindStringSubmatch(message); call != nil && !slices.Contains(speaking, call[2]) {
		message = call[1] + unquoted.ReplaceAllString(quoted.ReplaceAllString(call[3], "…"), "$1…")
	}
	message = schemaNumber.ReplaceAllString(schemaName.ReplaceAllString(message, "$1"), "$1: want")
	return sortReasons(schemaReason.ReplaceAllString(schemaValue.ReplaceAllString(message, "${1}the value $2"), "$1"))
}

var (
	refusal  = regexp.MustCompile(`(?m)^- at '.*(?:\n .*)*`)
	refusals = regexp.MustCompile(`(?m)(?:^- at '.*(?:\n .*)*(?:\n|\z))+`)
)

// sortReasons puts what a schema refuses in one order: the library goes through values as Go goes through maps.
func sortReasons(message string) string {
	return refusals.ReplaceAllStringFunc(message, func(reasons string) string {
		return strings.Join(slices.Sorted(slices.Values(refusal.FindAllString(reasons, -1))), "\n") + "\n"
	})
}

// withoutCalls keeps of a chain of calls the first, which the chart's author began with, and what went wrong in the last.
func withoutCalls(message string) string {
	const call = ": error calling "
	first, last := strings.Index(message, call), strings.LastIndex(message, call)
	if first == last {
		return message
	}
	return message[:first] + " … " + message[last+2:]
}

func lineIn(err error) int {
	if match := lineNumber.FindStringSubmatch(err.Error()); match != nil {
		line, _ := strconv.Atoi(match[1])
		return line
	}
	return 0
}
