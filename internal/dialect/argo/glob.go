package argo

import (
	"regexp"
	"strings"
)

// globMatch matches text against a pattern of *, **, ?, [class] and {a,b}.
// With separator set, * and ? do not match it, ** does. A pattern that is no
// valid one matches only itself. Time is linear in the length of both.
func globMatch(pattern, text string, separator byte) bool {
	re, err := regexp.Compile(globRegexp(pattern, separator))
	if err != nil {
		return pattern == text
	}
	return re.MatchString(text)
}

func globRegexp(pattern string, separator byte) string {
	one := "."
	if separator != 0 {
		one = "[^" + regexp.QuoteMeta(string(separator)) + "]"
	}
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	depth := 0
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; {
		case c == '*' && strings.HasPrefix(pattern[i:], "**"):
			b.WriteString(".*")
			i++
		case c == '*':
			b.WriteString(one + "*")
		case c == '?':
			b.WriteString(one)
		case c == '{':
			depth++
			b.WriteString("(?:")
		case c == '}' && depth > 0:
			depth--
			b.WriteString(")")
		case c == ',' && depth > 0:
			b.WriteString("|")
		case c == '[' && strings.IndexByte(pattern[i:], ']') > 1:
			end := i + strings.IndexByte(pattern[i:], ']')
			class := pattern[i+1 : end]
			b.WriteByte('[')
			if class[0] == '!' {
				b.WriteByte('^')
				class = class[1:]
			}
			b.WriteString(strings.NewReplacer(`\`, `\\`, "[", `\[`, "^", `\^`).Replace(class))
			b.WriteByte(']')
			i = end
		case c == '\\' && i+1 < len(pattern):
			i++
			b.WriteString(regexp.QuoteMeta(pattern[i : i+1]))
		default:
			b.WriteString(regexp.QuoteMeta(pattern[i : i+1]))
		}
	}
	b.WriteString(`\z`)
	return b.String()
}
