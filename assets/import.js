// The settings in an image that is dropped, pasted or chosen. They are found here, so that nothing else leaves the browser:
// no pixels, and of a photograph neither its position nor its thumbnail, its camera, names, or the name of the file.
(() => {
  const MAX_SENT_BYTES = 900_000; // the server takes requests of a megabyte
  const MAX_EXIF_BYTES = 8 << 20;
  const MAX_INFLATED_BYTES = 8 << 20; // of all texts of a file, as a kilobyte may inflate to a megabyte
  const MAX_PARTS = 100_000; // chunks or segments of a file
  const WINDOW_BYTES = 1 << 20; // loaded at once
  const SCAN_BYTES = 4096; // searched at once: far less, so that a search that ends soon loads nothing anew
  const DEFLATED_BYTES = 1024; // inflated at once
  const MAX_NAME_LENGTH = 120;

  // Keywords that only image generators use, as far as the server reads them.
  const TOOL_KEYWORDS = [
    ...["sd35", "parameters", "parameters-json", "prompt", "workflow", "generation_data", "fooocus_scheme"],
    ...["invokeai_metadata", "invokeai", "sd-metadata", "Dream", "Nmkdiffusers"],
  ];
  const KEYWORDS = [
    ...TOOL_KEYWORDS,
    // one for each setting, such as Easy Diffusion's
    ...["use_stable_diffusion_model", "negative_prompt", "num_inference_steps", "guidance_scale", "sampler_name"],
    ...["seed", "width", "height", "use_lora_model", "lora_alpha", "steps", "sampler", "scale", "negative-prompt"],
  ];
  // Programs spell these in any case. Others could be a camera's.
  const canonicalName = (name) => TOOL_KEYWORDS.find((keyword) => keyword.toLowerCase() === name.toLowerCase()) ?? name;
  // Texts of these names may be anything, such as a caption.
  const COMMENTS = ["Comment", "UserComment", "ImageDescription", "Description", "metadata", "Metadata", "Source"];
  const EXIF_TAGS = new Map([
    [0x9286, "UserComment"],
    [0x927c, "MakerNote"],
    [0x010e, "ImageDescription"],
    // ComfyUI's nodes write a graph into tags that mean something else, counting down from the camera's model.
    [0x0110, "Model"],
    [0x010f, "Make"],
    [0x0131, "Software"],
    ...Array.from({ length: 14 }, (_, index) => [0x0100 + index, `Tag010${index.toString(16).toUpperCase()}`]),
  ]);
  const EXIF_POINTER = 0x8769;
  const XMP_IDENTIFIER = "http://ns.adobe.com/xap/1.0/\0"; // of a segment in a JPEG
  const XMP_KEYWORD = "XML:com.adobe.xmp"; // of a text in a PNG
  const OWN_IDENTIFIER = "sd35-studio\0";

  // ---- Texts ------------------------------------------------------------------------------------

  const latin1 = (bytes) => {
    let text = "";
    // in pieces: each byte becomes an argument, and the number of arguments is limited
    for (let start = 0; start < bytes.length; start += 0x8000) {
      text += String.fromCharCode(...bytes.subarray(start, start + 0x8000));
    }
    return text;
  };
  const decode = (bytes, encoding) => new TextDecoder(encoding, { ignoreBOM: true }).decode(bytes);
  // Many tools write UTF-8 where the standards demand Latin-1.
  const decodeAny = (bytes) => {
    try {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    } catch {
      return latin1(bytes);
    }
  };
  // Of bytes or characters. A regular expression would take quadratic time for many zeros.
  const withoutZeros = (value) => {
    const isZero = (item) => item === 0 || item === "\0";
    let start = 0;
    let end = value.length;
    while (start < end && isZero(value[start])) start++;
    while (end > start && isZero(value[end - 1])) end--;
    return value.slice(start, end);
  };

  const COMMENT_CODES = ["UNICODE\0", "ASCII\0\0\0", "JIS\0\0\0\0\0", "\0".repeat(8)];
  const countZeros = (bytes, start, step) => {
    let count = 0;
    for (let at = start; at < bytes.length; at += step) if (bytes[at] === 0) count++;
    return count;
  };
  // As exif.py does it: some programs write UTF-8 under the code of UTF-16, and UTF-16 under another or none.
  const decodeComment = (bytes) => {
    const code = latin1(bytes.subarray(0, 8)).toUpperCase();
    const text = COMMENT_CODES.includes(code) ? bytes.subarray(8) : bytes;
    const mark = latin1(text.subarray(0, 2));
    if (mark === "\xff\xfe") return withoutZeros(decode(text.subarray(2), "utf-16le"));
    if (mark === "\xfe\xff") return withoutZeros(decode(text.subarray(2), "utf-16be"));
    const stripped = withoutZeros(text);
    const zeros = countZeros(stripped, 0, 1);
    const isWide = zeros > Math.floor(stripped.length / 4);
    if (!isWide && !(code === COMMENT_CODES[0] && (zeros > 0 || stripped.length <= 8))) return decodeAny(stripped);
    const isLittle = countZeros(text, 1, 2) > countZeros(text, 0, 2);
    return withoutZeros(decode(text, isLittle ? "utf-16le" : "utf-16be"));
  };

  // Whether a text holds AUTOMATIC1111's parameters: in the last line, or else from a line or place with steps to the end.
  // infotext.py checks the same. A caption may hold any of the words.
  const PARAMETERS = ["steps", "sampler", "cfgscale", "seed"];
  const isParameters = (text) => {
    const matches = text.split(",").map((pair) => /([\p{L}\p{N}_][\p{L}\p{N}_ \-/]{1,60}):/u.exec(pair));
    const names = matches.filter(Boolean).map((match) => match[1].toLowerCase().replace(/[ _-]/g, ""));
    return names.length >= 3 && PARAMETERS.filter((name) => names.includes(name)).length >= 2;
  };
  const hasParameters = (text) => {
    const [body] = text.split(/^(?:Negative )?Template:/m, 1);
    return [text, body].some((part) => {
      const lines = part.trim().split("\n");
      const firstLine = lines.findLastIndex((line) => /^[ \t]*steps:[ \t]*\d/i.test(line));
      const inLine = /[^,\s][ \t]+(Steps: ?\d+,[^]*)/.exec(part);
      const parts = [lines.at(-1), firstLine < 0 ? (inLine?.[1] ?? "") : lines.slice(firstLine).join(",")];
      return parts.some(isParameters);
    });
  };

  // Whether a text that may be anything holds settings: AUTOMATIC1111's parameters, JSON with a tool's names for them, a
  // graph of ComfyUI, or the name of NovelAI's model.
  const PROMPTS = ["prompt", "positiveprompt", "positive", "c"];
  const SETTINGS = [
    ...["steps", "numinferencesteps", "guidancescale", "cfgscale", "cfg", "scale", "seed", "width", "resolution", "size"],
    ...["sampler", "samplername"],
  ];
  const isSettings = (text) => {
    if (!text.trimStart().startsWith("{")) return false;
    // A backslash is in JSON within JSON.
    if (/"(?:sui_image_params|base[_ ]model|metadata_scheme|v4_prompt|uc)\\?"/i.test(text)) return true;
    try {
      const names = Object.keys(JSON.parse(text)).map((name) => name.toLowerCase().replace(/[^a-z\d]/g, ""));
      return PROMPTS.some((name) => names.includes(name)) && names.filter((name) => SETTINGS.includes(name)).length >= 2;
    } catch {
      return false;
    }
  };
  const hasSettings = (text) =>
    hasParameters(text) ||
    isSettings(text) ||
    text.startsWith("Include in Image: ") || // Mochi Diffusion
    /^(?:NovelAI|Stable) Diffusion[ \w.-]{0,60}$/.test(text) ||
    (/^[^{]{0,40}\{/.test(text) && /"class_type\\*"\s*:/.test(text));

  // ComfyUI's workflow, the graph as its editor shows it, in an object or a text of JSON.
  const OUTER_KEYS = ["prompt", "workflow", "extra_data", "extra_pnginfo"];
  const findWorkflow = (value, depth = 0) => {
    try {
      if (typeof value === "string") return findWorkflow(JSON.parse(value), depth + 1);
    } catch {
      return null;
    }
    if (value === null || typeof value !== "object" || depth > 6) return null;
    if (Array.isArray(value.nodes)) return value.nodes.length > 0 ? value : null;
    const inner = Object.keys(value).filter((key) => OUTER_KEYS.includes(key.toLowerCase()));
    return inner.map((key) => findWorkflow(value[key], depth + 1)).find(Boolean) ?? null;
  };
  // Returns what comfyui_workflow.py reads of it: no notes, titles, groups or other things that somebody wrote there.
  // JSON leaves out what has no value.
  const pick = (value, names) => Object.fromEntries(names.map((name) => [name, value?.[name]]));
  const pickAll = (values, names) => (Array.isArray(values) ? values.map((value) => pick(value, names)) : []);
  const pickNodes = (nodes) =>
    nodes
      .filter((node) => !["Note", "MarkdownNote"].includes(node?.type))
      .map((node) => ({
        ...pick(node, ["id", "type", "mode", "widgets_values"]),
        inputs: pickAll(node?.inputs, ["name", "type", "link", "widget"]),
        outputs: pickAll(node?.outputs, ["type"]),
        properties: pick(node?.properties, ["proxyWidgets"]),
      }));
  const pickGraph = (graph) => ({
    ...pick(graph, ["id", "links"]),
    nodes: Array.isArray(graph?.nodes) ? pickNodes(graph.nodes) : [],
    inputs: pickAll(graph?.inputs, ["name", "linkIds"]),
  });
  const pickWorkflow = (workflow) => {
    const subgraphs = workflow.definitions?.subgraphs;
    return {
      ...pickGraph(workflow),
      definitions: { subgraphs: Array.isArray(subgraphs) ? subgraphs.map(pickGraph) : [] },
      extra: pick(workflow.extra, ["ue_links"]),
    };
  };

  // Whether a text that is pasted into a prompt is settings, which somebody may also describe in words: "Steps: up".
  const isPastedSettings = (text) => {
    const numbers = text.matchAll(/(?:^|[\s,])(steps|cfg[ _]scale|seed|size)\s*:\s*"?-?\d/gi);
    const names = new Set([...numbers].map((match) => match[1].toLowerCase()));
    return (hasParameters(text) && names.size >= 2) || isSettings(text);
  };

  // The texts that may be sent, by the names that the server's readers know. Of several with a name the first one counts.
  class SettingsTexts {
    texts = {};
    hasExif = false;
    #remainingBytes = MAX_SENT_BYTES;
    #workflow = null;
    #description = "";

    add(keyword, text) {
      const name = canonicalName(keyword);
      if (name === "workflow" || /^[^{]{0,40}\{[^]*"nodes\\*"\s*:/.test(text)) {
        this.#workflow ??= findWorkflow(text.replace(/^[^{]{0,33}?(?:prompt|workflow)\s*:\s*/i, ""));
      }
      if (name === "Description") this.#description ||= text;
      if (name !== "workflow" && (KEYWORDS.includes(name) || hasSettings(text))) this.#keep(name, text);
    }

    #keep(name, text) {
      if (text === "" || Object.hasOwn(this.texts, name) || text.length > this.#remainingBytes) return;
      const size = new TextEncoder().encode(JSON.stringify(text)).length;
      if (size > this.#remainingBytes) return;
      this.#remainingBytes -= size;
      this.texts[name] = text;
    }

    addTag(name, bytes) {
      if (name === "UserComment") this.add(name, decodeComment(bytes));
      else if (name !== "MakerNote") this.add(name, decodeAny(withoutZeros(bytes)));
      // A camera's maker note holds serial numbers and positions: only those of this program and of Fooocus are read.
      else if (latin1(bytes.subarray(0, OWN_IDENTIFIER.length)) === OWN_IDENTIFIER) this.addOwn(bytes);
      else if (latin1(withoutZeros(bytes.subarray(0, 16))) === "fooocus") this.texts[name] = "fooocus";
    }

    addOwn(bytes) {
      const hasIdentifier = latin1(bytes.subarray(0, OWN_IDENTIFIER.length)) === OWN_IDENTIFIER;
      this.add("sd35", decode(withoutZeros(hasIdentifier ? bytes.subarray(OWN_IDENTIFIER.length) : bytes), "utf-8"));
    }

    // NovelAI's first version wrote the prompt as a description, beside JSON without it.
    addPrompt() {
      const comment = this.texts.Comment ?? "";
      if (comment.includes('"uc"') && !comment.includes('"prompt"')) this.texts.Description ??= this.#description;
    }

    // Beside a graph, ComfyUI's `workflow` only tells that ComfyUI made the image; without one, it is read.
    addWorkflow() {
      if (this.#workflow === null) return;
      const hasGraph = Object.values(this.texts).some((text) => text.includes("class_type"));
      if (!hasGraph) this.#keep("workflow", JSON.stringify(pickWorkflow(this.#workflow)));
      this.texts.workflow ??= '{"nodes":[0]}';
    }
  }

  // ---- XMP ---------------------------------------------------------------------------------------

  const NAMED_CHARACTERS = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" };
  const unescape = (text) =>
    text.replace(/&(?:#x([\da-f]{1,6})|#(\d{1,7})|(\w{2,4}));/gi, (escape, hexadecimal, decimal, name) => {
      if (name) return NAMED_CHARACTERS[name] ?? escape;
      const code = parseInt(hexadecimal ?? decimal, hexadecimal ? 16 : 10);
      return code <= 0x10ffff ? String.fromCodePoint(code) : "";
    });

  // Adds this program's own property of a packet and that with settings, as xmp.py finds them, and nothing else.
  const addXmp = (texts, packet) => {
    const start = packet.indexOf("<exif:UserComment>");
    const end = start < 0 ? -1 : packet.indexOf("</exif:UserComment>", start);
    if (end >= 0) texts.add("UserComment", unescape(packet.slice(start, end).replace(/<[^<>]*>/g, "")).trim());
    const [, prefix] = /xmlns:([\w.-]{1,40})\s*=\s*["']urn:sd35-studio:1\.0\/["']/.exec(packet) ?? [];
    if (prefix === undefined) return;
    const name = `${prefix.replaceAll(".", "\\.")}:record`;
    const value = `\\s${name}\\s*=\\s*(?:"([^"<]*)"|'([^'<]*)')`;
    const match = new RegExp(`<${name}(?:\\s[^<>]*)?>([^<]*)</${name}\\s*>|${value}`).exec(packet);
    if (match !== null) texts.add("sd35", unescape(match[1] ?? match[2] ?? match[3]));
  };

  // ---- EXIF -------------------------------------------------------------------------------------

  const TYPE_BYTE = 1;
  const TYPE_ASCII = 2;
  const TYPE_UNDEFINED = 7;

  // Adds the texts of a block: of its first directory and its Exif directory, and not of those with the position, the
  // thumbnail and the like.
  const addExif = (texts, data) => {
    if (texts.hasExif || data.length === 0) return; // many small blocks could point to the same long texts again and again
    texts.hasExif = true;
    const block = latin1(data.subarray(0, 6)) === "Exif\0\0" ? data.subarray(6) : data;
    const isLittle = latin1(block.subarray(0, 4)) === "II*\0";
    if (!isLittle && latin1(block.subarray(0, 4)) !== "MM\0*") return;
    const view = new DataView(block.buffer, block.byteOffset, block.length);
    const short = (offset) => (offset + 2 <= block.length ? view.getUint16(offset, isLittle) : 0);
    const long = (offset) => (offset + 4 <= block.length ? view.getUint32(offset, isLittle) : 0);
    const readDirectory = (start) => {
      const entries = new Map();
      for (let index = 0; start >= 8 && index < short(start); index++) {
        const entry = start + 2 + 12 * index;
        if (entry + 12 > block.length) break;
        if (!entries.has(short(entry))) entries.set(short(entry), entry);
      }
      return entries;
    };
    const valueOf = (entry) => {
      const isText = [TYPE_BYTE, TYPE_ASCII, TYPE_UNDEFINED].includes(short(entry + 2));
      const length = long(entry + 4);
      if (!isText || length > MAX_SENT_BYTES) return new Uint8Array();
      const start = length <= 4 ? entry + 8 : long(entry + 8);
      return block.subarray(start, start + length);
    };
    const directory = readDirectory(long(4));
    const pointer = directory.get(EXIF_POINTER);
    const exifDirectory = pointer === undefined ? new Map() : readDirectory(long(pointer + 8));
    for (const [tag, entry] of [...exifDirectory, ...directory]) {
      if (EXIF_TAGS.has(tag)) texts.addTag(EXIF_TAGS.get(tag), valueOf(entry));
    }
  };

  // ---- Containers -------------------------------------------------------------------------------

  // Reads a file in windows, as it may be larger than the memory.
  const openFile = (file) => {
    let start = 0;
    let loaded = new Uint8Array();
    return async (from, to) => {
      if (from < start || to > start + loaded.length) {
        const end = Math.max(to, from + WINDOW_BYTES);
        loaded = new Uint8Array(await file.slice(from, end).arrayBuffer());
        start = from;
      }
      return loaded.subarray(from - start, to - start);
    };
  };
  const numberIn = (bytes, isLittle) =>
    bytes.length === 2
      ? new DataView(bytes.buffer, bytes.byteOffset).getUint16(0, isLittle)
      : new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, isLittle);

  // Inflates texts until all together are too long.
  const createInflater = () => {
    let remainingBytes = MAX_INFLATED_BYTES;
    return async (deflated) => {
      if (remainingBytes <= 0) throw new RangeError("too long");
      let position = 0;
      const source = new ReadableStream(
        {
          pull(controller) {
            if (position >= deflated.length) controller.close();
            else controller.enqueue(deflated.slice(position, (position += DEFLATED_BYTES)));
          },
        },
        { highWaterMark: 0 },
      );
      const reader = source.pipeThrough(new DecompressionStream("deflate")).getReader();
      const parts = [];
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return new Uint8Array(await new Blob(parts).arrayBuffer());
        parts.push(value);
        remainingBytes -= value.length;
        if (remainingBytes <= 0) break;
      }
      await reader.cancel();
      throw new RangeError("too long");
    };
  };

  const MAX_KEYWORD_BYTES = 79;
  const cutAtZero = (bytes) => {
    const end = bytes.indexOf(0);
    return end < 0 ? [bytes, new Uint8Array()] : [bytes.subarray(0, end), bytes.subarray(end + 1)];
  };
  const readPngText = async (kind, value, inflate) => {
    if (kind === "tEXt") return decodeAny(value);
    if (kind === "zTXt") return decodeAny(await inflate(value.subarray(1)));
    const [, translated] = cutAtZero(value.subarray(2)); // after the language
    const [, text] = cutAtZero(translated);
    return decode(value[0] === 1 ? await inflate(text) : text, "utf-8");
  };
  const readPng = async (read, fileSize, texts) => {
    const inflate = createInflater();
    let size = null;
    let exif = null;
    let xmp = null;
    for (let offset = 8, count = 0; offset + 12 <= fileSize && count < MAX_PARTS; count++) {
      const head = await read(offset, offset + 8);
      const kind = latin1(head.subarray(4));
      const [start, end] = [offset + 8, offset + 8 + numberIn(head.subarray(0, 4))];
      if (kind === "IEND" || end + 4 > fileSize) break;
      if (kind === "IHDR" && end - start >= 8) {
        size = [numberIn(await read(start, start + 4)), numberIn(await read(start + 4, start + 8))];
      } else if (kind === "eXIf" && end - start <= MAX_EXIF_BYTES) {
        exif ??= await read(start, end);
      } else if (["tEXt", "zTXt", "iTXt"].includes(kind) && end - start <= MAX_SENT_BYTES) {
        const [keyword] = cutAtZero(await read(start, Math.min(end, start + MAX_KEYWORD_BYTES + 1)));
        const name = latin1(keyword);
        if (KEYWORDS.includes(canonicalName(name)) || COMMENTS.includes(name) || name === XMP_KEYWORD) {
          const [, value] = cutAtZero(await read(start, end));
          const text = await readPngText(kind, value, inflate).catch(() => "");
          if (name === XMP_KEYWORD) xmp ??= text;
          else texts.add(name, text);
        }
      }
      offset = end + 4;
    }
    // Last, because a text of the same name takes precedence.
    if (exif !== null) addExif(texts, exif);
    addXmp(texts, xmp ?? "");
    return size;
  };

  const readWebp = async (read, fileSize, texts) => {
    let size = null;
    let xmp = null;
    for (let offset = 12, count = 0; offset + 8 <= fileSize && count < MAX_PARTS; count++) {
      const head = await read(offset, offset + 8);
      const kind = latin1(head.subarray(0, 4));
      const length = numberIn(head.subarray(4), true);
      const [start, end] = [offset + 8, offset + 8 + length];
      if (end > fileSize) break;
      if (kind === "VP8X" && length >= 10) {
        const sides = await read(start + 4, start + 10);
        const side = (at) => sides[at] + (sides[at + 1] << 8) + (sides[at + 2] << 16) + 1;
        size ??= [side(0), side(3)];
      } else if (kind === "EXIF" && length <= MAX_EXIF_BYTES) addExif(texts, await read(start, end));
      else if (kind === "sd35" && length <= MAX_SENT_BYTES) texts.addOwn(await read(start, end));
      else if (kind === "XMP " && length <= MAX_EXIF_BYTES) xmp ??= decode(await read(start, end), "utf-8");
      offset = end + (length % 2);
    }
    addXmp(texts, xmp ?? ""); // last, because earlier versions of this program wrote into other places
    return size;
  };

  const isJpegMarker = (byte) => ![0x00, 0x01, 0xff].includes(byte) && !(byte >= 0xd0 && byte <= 0xd8);
  const findMarker = async (read, fileSize, from) => {
    for (let offset = from; offset + 4 <= fileSize; offset += SCAN_BYTES - 1) {
      const bytes = await read(offset, Math.min(offset + SCAN_BYTES, fileSize));
      for (let at = 0; at + 1 < bytes.length; at++) {
        if (bytes[at] === 0xff && isJpegMarker(bytes[at + 1])) return offset + at;
      }
    }
    return fileSize;
  };
  const MAX_SEGMENT_BYTES = 0xffff;
  const readJpeg = async (read, fileSize, texts) => {
    let size = null;
    let xmp = null;
    const ownParts = new Map(); // of this program's JSON, by number and count
    for (let offset = 2, count = 0; count < MAX_PARTS; count++) {
      offset = await findMarker(read, fileSize, offset);
      if (offset + 4 > fileSize) break;
      const head = await read(offset, offset + 4);
      const end = offset + 2 + numberIn(head.subarray(2));
      const isLast = head[1] === 0xda || head[1] === 0xd9; // the pixels begin, or the image ends
      if (isLast || end < offset + 4 || end > fileSize) break;
      const body = await read(offset + 4, end);
      if (head[1] === 0xe1 && latin1(body.subarray(0, 6)) === "Exif\0\0") addExif(texts, body);
      else if (head[1] === 0xe1 && latin1(body.subarray(0, XMP_IDENTIFIER.length)) === XMP_IDENTIFIER) {
        xmp ??= decode(body.subarray(XMP_IDENTIFIER.length), "utf-8");
      } else if (head[1] === 0xfe) texts.add("Comment", decode(body, "utf-8"));
      else if (head[1] === 0xef && latin1(body.subarray(0, OWN_IDENTIFIER.length)) === OWN_IDENTIFIER) {
        const number = latin1(body.subarray(OWN_IDENTIFIER.length, OWN_IDENTIFIER.length + 4));
        const isFull = (ownParts.size + 1) * MAX_SEGMENT_BYTES > MAX_SENT_BYTES;
        if (!ownParts.has(number) && !isFull) ownParts.set(number, body.slice(OWN_IDENTIFIER.length + 4));
      } else if (head[1] >= 0xc0 && head[1] <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(head[1]) && body.length >= 5) {
        size = [numberIn(body.subarray(3, 5)), numberIn(body.subarray(1, 3))];
      }
      offset = end;
    }
    const partCount = ownParts.size;
    const name = (index) => String.fromCharCode(index >> 8, index & 255, partCount >> 8, partCount & 255);
    const parts = Array.from({ length: partCount }, (_, index) => ownParts.get(name(index + 1)));
    if (partCount > 0 && parts.every(Boolean)) texts.addOwn(new Uint8Array(await new Blob(parts).arrayBuffer()));
    addXmp(texts, xmp ?? "");
    return size;
  };

  // Returns the size in pixels, if the file tells it, and the texts with settings.
  const readSettings = async (file) => {
    const read = openFile(file);
    const texts = new SettingsTexts();
    const head = latin1(await read(0, 12));
    let size = null;
    if (head.startsWith("\x89PNG\r\n\x1a\n")) size = await readPng(read, file.size, texts);
    else if (head.startsWith("RIFF") && head.endsWith("WEBP")) size = await readWebp(read, file.size, texts);
    else if (head.startsWith("\xff\xd8")) size = await readJpeg(read, file.size, texts);
    texts.addPrompt();
    texts.addWorkflow();
    return { size, texts: texts.texts };
  };

  // ---- Listeners --------------------------------------------------------------------------------

  sd35.readSettings = readSettings;

  sd35.bindImport = (element, trigger, watch) => {
    const names = []; // of the files and texts, which the server knows by their number
    const send = async (name, readTexts) => {
      const number = names.push(name.slice(0, MAX_NAME_LENGTH)) - 1;
      location.hash = "#create";
      const settings = await readTexts().catch(() => ({ size: null, texts: {} }));
      const isNewest = number === names.length - 1; // another file may have been dropped meanwhile
      if (isNewest) trigger("upload", { number, ...settings });
    };
    const readAndSend = (file) => file && send(file.name, () => readSettings(file));
    let isPlainPaste = false; // Ctrl+Shift+V, which inserts settings as the text that they are
    window.addEventListener("keydown", (event) => {
      isPlainPaste = event.shiftKey && (event.ctrlKey || event.metaKey);
    });
    window.addEventListener("keyup", () => (isPlainPaste = false));
    const onPaste = (event) => {
      const file = imageFile(event.clipboardData);
      if (file) {
        readAndSend(file);
        return;
      }
      if (isPlainPaste || !event.target.closest?.("#prompt-area textarea")) return;
      const text = (event.clipboardData?.getData("text/plain") ?? "").replace(/\r\n?/g, "\n").trim();
      const texts = new SettingsTexts();
      if (isPastedSettings(text)) texts.add("parameters", text);
      if (texts.texts.parameters === undefined) return;
      event.preventDefault();
      send("the pasted text", async () => ({ size: null, texts: texts.texts }));
    };
    watch("value", () => {
      for (const label of element.querySelectorAll("[data-file]")) {
        label.textContent = names[Number(label.dataset.file)] || label.textContent;
      }
    });
    element.addEventListener("change", (event) => {
      readAndSend(event.target.files?.[0]);
      event.target.value = "";
    });
    element.addEventListener("click", (event) => {
      const button = event.target.closest("[data-event]");
      if (button !== null) trigger(button.dataset.event);
    });
    const imageFile = (transfer) => [...(transfer?.files ?? [])].find((file) => file.type.startsWith("image/"));
    const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
    let depth = 0; // "dragenter" and "dragleave" are also sent for each nested element
    const showOverlay = (isShown) => document.documentElement.toggleAttribute("data-dropping", isShown);
    window.addEventListener("dragenter", (event) => hasFiles(event) && showOverlay(++depth > 0), true);
    window.addEventListener("dragleave", (event) => hasFiles(event) && showOverlay((depth = Math.max(0, depth - 1)) > 0), true);
    window.addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault(), true);
    window.addEventListener(
      "drop",
      (event) => {
        if (!hasFiles(event)) return;
        event.preventDefault();
        event.stopPropagation();
        showOverlay((depth = 0) > 0);
        readAndSend(imageFile(event.dataTransfer) ?? event.dataTransfer.files[0]);
      },
      true,
    );
    window.addEventListener("paste", onPaste);
  };
})();
