#!/usr/bin/env bash
# Usage: generate.sh FOREGROUND OUTPUT [PROMPT], with bash and curl.
# BACKDROP_URL, BACKDROP_PUBLIC_KEY and BACKDROP_PRIVATE_KEY say where and as whom.
set -euo pipefail

foreground=$1 output=$2 prompt=${3:-blue sky}

# signature TEXT: names and values of all fields but Signature, sorted by name.
signature() { printf %s "$1$BACKDROP_PRIVATE_KEY" | openssl dgst -sha1 -r | cut -c1-40; }

# call BODY: one request; ends the script where the answer is a refusal. Through standard input,
# since images are longer than a command line may be.
call() {
  local answer
  answer=$(printf %s "$1" | curl -sS --fail-with-body --retry 5 --retry-connrefused \
    "$BACKDROP_URL" -H "Content-Type: application/json" --data-binary @-)
  if [[ $answer != *'"RetCode":0,'* ]]; then
    echo "refused: $answer" >&2
    exit 1
  fi
  printf %s "$answer"
}

# string NAME ANSWER: the first string of that name in a JSON answer.
string() { grep -o "\"$1\":\"[^\"]*\"" <<<"$2" | head -n 1 | cut -d '"' -f 4; }

image=$(base64 <"$foreground" | tr -d '\n')
escaped=${prompt//\\/\\\\}
escaped=${escaped//\"/\\\"}
text="ActionGenerateBackgroundsImageList${image}PositivePrompts${prompt}"
text+="PublicKey${BACKDROP_PUBLIC_KEY}TransparentForegroundImageIndex0"
answer=$(call "{\"Action\": \"GenerateBackgrounds\", \"PublicKey\": \"$BACKDROP_PUBLIC_KEY\",
  \"ImageList\": [\"$image\"], \"PositivePrompts\": [\"$escaped\"],
  \"TransparentForeground\": {\"ImageIndex\": 0}, \"Signature\": \"$(signature "$text")\"}")
uid=$(string TaskUID "$answer")
echo "task $uid" >&2

signed=$(signature "ActionListTasksDetailsPublicKey${BACKDROP_PUBLIC_KEY}TaskUIDList${uid}")
while true; do
  answer=$(call "{\"Action\": \"ListTasksDetails\", \"PublicKey\": \"$BACKDROP_PUBLIC_KEY\",
    \"TaskUIDList\": [\"$uid\"], \"Signature\": \"$signed\"}")
  case $(string Status "$answer") in
    Finished) break ;;
    Error)
      echo "failed: $(string ErrorMassage "$answer")" >&2
      exit 1
      ;;
  esac
  sleep 0.5
done
curl -sS --fail -o "$output" "$(grep -o '"ImgList":\["[^"]*"' <<<"$answer" | cut -d '"' -f 4)"
echo "$output"
