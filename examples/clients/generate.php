<?php
// Usage: php generate.php FOREGROUND OUTPUT [PROMPT], with PHP 8.1 or later and no extension.
// BACKDROP_URL, BACKDROP_PUBLIC_KEY and BACKDROP_PRIVATE_KEY say where and as whom.
declare(strict_types=1);

/** A value as the signature sees it. */
function text(mixed $value): string
{
    if (is_bool($value)) {
        return $value ? 'true' : 'false';
    }
    if (is_float($value)) { // plain decimals: a cast would write small ones with an exponent
        return rtrim(rtrim(number_format($value, 14, '.', ''), '0'), '.');
    }
    if (!is_array($value)) {
        return (string) $value;
    }
    if (array_is_list($value)) {
        return implode('', array_map('text', $value));
    }
    ksort($value, SORT_STRING);
    $parts = '';
    foreach ($value as $name => $member) {
        $parts .= $name . text($member);
    }
    return $parts;
}

/** One signed request; its answer, once the server is not busy. */
function call(string $action, array $fields): array
{
    $body = ['Action' => $action, 'PublicKey' => getenv('BACKDROP_PUBLIC_KEY')] + $fields;
    $body['Signature'] = sha1(text($body) . getenv('BACKDROP_PRIVATE_KEY'));
    $context = stream_context_create(['http' => [
        'method' => 'POST',
        'header' => 'Content-Type: application/json',
        'content' => json_encode($body, JSON_THROW_ON_ERROR),
        'timeout' => 60,
    ]]);
    while (true) {
        $response = file_get_contents(getenv('BACKDROP_URL'), false, $context);
        if ($response === false) {
            throw new RuntimeException("$action: no answer");
        }
        $answer = json_decode($response, true, 512, JSON_THROW_ON_ERROR);
        if ($answer['RetCode'] === 0) {
            return $answer;
        }
        if ($answer['RetCode'] !== 2001) {
            throw new RuntimeException("$action: {$answer['RetCode']} {$answer['Message']}");
        }
        sleep(5); // busy
    }
}

/** The TaskDetail of a task that has finished. */
function finished(string $uid): array
{
    while (true) {
        $task = call('ListTasksDetails', ['TaskUIDList' => [$uid]])['TaskDetailList'][0];
        fwrite(STDERR, $task['Status'] . ' ' . ($task['Progress'] ?? '') . "\n");
        if ($task['Status'] === 'Finished') {
            return $task;
        }
        if ($task['Status'] === 'Error') {
            throw new RuntimeException("{$task['ErrorCode']} {$task['ErrorMassage']}");
        }
        usleep(500_000);
    }
}

/** The file at a path or URL. */
function contents(string $name): string
{
    $data = file_get_contents($name);
    if ($data === false) {
        throw new RuntimeException("cannot read $name");
    }
    return $data;
}

[, $foreground, $output] = $argv;
try {
    $uid = call('GenerateBackgrounds', [
        'ImageList' => [base64_encode(contents($foreground))],
        'PositivePrompts' => [$argv[3] ?? 'blue sky'],
        'TransparentForeground' => ['ImageIndex' => 0],
    ])['TaskUID'];
    file_put_contents($output, contents(finished($uid)['ImgList'][0]));
    echo "$output\n";
} catch (RuntimeException | JsonException $error) {
    fwrite(STDERR, $error->getMessage() . "\n");
    exit(1);
}
