// Usage: go run generate.go FOREGROUND OUTPUT [PROMPT], with the standard library alone.
// BACKDROP_URL, BACKDROP_PUBLIC_KEY and BACKDROP_PRIVATE_KEY say where and as whom.
package main

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"sort"
	"strconv"
	"strings"
	"time"
)

type object = map[string]any
type list = []any

// text is a value as the signature sees it.
func text(value any) string {
	switch v := value.(type) {
	case nil:
		return ""
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case int:
		return strconv.Itoa(v)
	case float64: // %v would write small ones with an exponent
		return strconv.FormatFloat(v, 'f', -1, 64)
	case list:
		var parts strings.Builder
		for _, member := range v {
			parts.WriteString(text(member))
		}
		return parts.String()
	case object:
		names := make([]string, 0, len(v))
		for name := range v {
			names = append(names, name)
		}
		sort.Strings(names)
		var parts strings.Builder
		for _, name := range names {
			parts.WriteString(name + text(v[name]))
		}
		return parts.String()
	}
	panic(fmt.Sprintf("a %T cannot be signed", value))
}

type taskDetail struct {
	Status       string
	ImgList      []string
	Progress     float64
	ErrorCode    int
	ErrorMassage string
}

type answer struct {
	RetCode        int
	Message        string
	TaskUID        string
	TaskDetailList []taskDetail
}

func call(action string, fields object) (answer, error) {
	var got answer
	body := object{"Action": action, "PublicKey": os.Getenv("BACKDROP_PUBLIC_KEY")}
	for name, value := range fields {
		body[name] = value
	}
	sum := sha1.Sum([]byte(text(body) + os.Getenv("BACKDROP_PRIVATE_KEY")))
	body["Signature"] = hex.EncodeToString(sum[:])
	encoded, err := json.Marshal(body)
	if err != nil {
		return got, err
	}
	for {
		response, err := http.Post(
			os.Getenv("BACKDROP_URL"), "application/json", bytes.NewReader(encoded))
		if err != nil {
			return got, err
		}
		data, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil {
			return got, err
		}
		if response.StatusCode != http.StatusOK {
			return got, fmt.Errorf("HTTP status %s", response.Status)
		}
		if err := json.Unmarshal(data, &got); err != nil {
			return got, err
		}
		if got.RetCode == 0 {
			return got, nil
		}
		if got.RetCode != 2001 {
			return got, fmt.Errorf("%d %s", got.RetCode, got.Message)
		}
		seconds, err := strconv.Atoi(response.Header.Get("Retry-After")) // busy
		if err != nil {
			seconds = 5
		}
		time.Sleep(time.Duration(seconds) * time.Second)
	}
}

func finished(uid string) (taskDetail, error) {
	for {
		got, err := call("ListTasksDetails", object{"TaskUIDList": list{uid}})
		if err != nil {
			return taskDetail{}, err
		}
		task := got.TaskDetailList[0]
		fmt.Fprintln(os.Stderr, task.Status, task.Progress)
		switch task.Status {
		case "Finished":
			return task, nil
		case "Error":
			return task, fmt.Errorf("%d %s", task.ErrorCode, task.ErrorMassage)
		}
		time.Sleep(500 * time.Millisecond)
	}
}

func download(url, path string) error {
	response, err := http.Get(url)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("HTTP status %s for the image", response.Status)
	}
	data, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o644)
}

func run(foreground, output, prompt string) error {
	image, err := os.ReadFile(foreground)
	if err != nil {
		return err
	}
	submitted, err := call("GenerateBackgrounds", object{
		"ImageList":             list{base64.StdEncoding.EncodeToString(image)},
		"PositivePrompts":       list{prompt},
		"TransparentForeground": object{"ImageIndex": 0},
	})
	if err != nil {
		return err
	}
	task, err := finished(submitted.TaskUID)
	if err != nil {
		return err
	}
	return download(task.ImgList[0], output)
}

func main() {
	log.SetFlags(0)
	if len(os.Args) < 3 {
		log.Fatal("usage: generate FOREGROUND OUTPUT [PROMPT]")
	}
	prompt := "blue sky"
	if len(os.Args) > 3 {
		prompt = os.Args[3]
	}
	if err := run(os.Args[1], os.Args[2], prompt); err != nil {
		log.Fatal(err)
	}
	fmt.Println(os.Args[2])
}
